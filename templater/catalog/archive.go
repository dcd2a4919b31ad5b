package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-getter/v2"
)

// archive downloads and reads an archive. It uses go-getter, which verifies
// checksums and supports netrc.
func (f *fetcher) archive(ctx context.Context) (Files, string, error) {
	dir, err := os.MkdirTemp("", "nomad-sidecar-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "archive")
	https := &getter.HttpGetter{
		Client: client(), Netrc: true, MaxBytes: maxDownloadBytes,
		DoNotCheckHeadFirst: true, XTerraformGetDisabled: true,
	}
	// Without decompressors go-getter keeps the archive packed.
	downloader := &getter.Client{Getters: []getter.Getter{https}, Decompressors: map[string]getter.Decompressor{}}
	_, err = downloader.Get(ctx, &getter.Request{
		Src: f.address.url, Dst: file, GetMode: getter.ModeFile, ProgressListener: tracker{f.tell},
	})
	var other *getter.ChecksumError
	if errors.As(err, &other) {
		return nil, "", fmt.Errorf("the checksum of the archive is %x, but the address requires %x", other.Actual, other.Expected)
	}
	if err != nil {
		return nil, "", err
	}
	sum, err := sha256File(file)
	if err != nil {
		return nil, "", err
	}
	files, err := f.read(file)
	return files, sum, err
}

func (f *fetcher) read(file string) (Files, error) {
	p := f.picker()
	read := p.untargz
	switch f.address.format {
	case "zip":
		if err := p.unzip(file); err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		return p.picked()
	case "tar":
		read = p.untar
	}
	r, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := read(r); err != nil {
		return nil, fmt.Errorf("read the archive: %w", err)
	}
	return p.picked()
}

// tracker bounds a download and reports its progress.
type tracker struct{ tell func(read, total int64) }

// TrackProgress implements getter.ProgressTracker. It bounds the stream, since
// HttpGetter.MaxBytes does not apply to it.
func (t tracker) TrackProgress(_ string, _, total int64, stream io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{&counted{r: stream, left: maxDownloadBytes, total: total, tell: t.tell}, stream}
}

func sha256File(file string) (string, error) {
	r, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
