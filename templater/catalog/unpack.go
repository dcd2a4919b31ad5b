package catalog

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
)

// untar passes all entries of a tar archive to the picker.
func (p *picker) untar(r io.Reader) error {
	archive := tar.NewReader(&counted{r: r, left: maxUnpackedBytes})
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		regular := h.Typeflag == tar.TypeReg
		if err := p.entry(h.Name, regular, func() (io.Reader, error) { return archive, nil }); err != nil {
			return err
		}
	}
}

// untargz is untar for a compressed archive.
func (p *picker) untargz(r io.Reader) error {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	return p.untar(plain)
}

// unzip passes all entries of a zip file to the picker. Only definitions are
// decompressed.
func (p *picker) unzip(file string) error {
	archive, err := zip.OpenReader(file)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // entry refuses insecure paths
		return err
	}
	defer archive.Close()
	for _, f := range archive.File {
		if f.FileInfo().IsDir() {
			continue
		}
		if err := p.unzipFile(f); err != nil {
			return err
		}
	}
	return nil
}

func (p *picker) unzipFile(f *zip.File) error {
	var open io.Closer
	err := p.entry(f.Name, f.Mode().IsRegular(), func() (io.Reader, error) {
		r, err := f.Open()
		open = r
		return r, err
	})
	if open != nil {
		err = errors.Join(err, open.Close())
	}
	return err
}
