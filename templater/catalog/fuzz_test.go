package catalog

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// FuzzArchive: no archive crashes the reader, and only definitions with local
// names are picked.
func FuzzArchive(f *testing.F) {
	for _, name := range []string{"a.sidecar.hcl", "../a.sidecar.hcl", "/a.sidecar.hcl", "x/..//y/a.sidecar.hcl", "a\x00.sidecar.hcl"} {
		var tarred, zipped bytes.Buffer
		w := tar.NewWriter(&tarred)
		must.NoError(f, w.WriteHeader(&tar.Header{Name: strings.ReplaceAll(name, "\x00", "0"), Mode: 0o644, Size: 1}))
		_, err := w.Write([]byte("x"))
		must.NoError(f, err)
		must.NoError(f, w.Close())
		z := zip.NewWriter(&zipped)
		file, err := z.Create(name)
		must.NoError(f, err)
		_, err = file.Write([]byte("x"))
		must.NoError(f, err)
		must.NoError(f, z.Close())
		f.Add(tarred.Bytes())
		f.Add(zipped.Bytes())
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		file := filepath.Join(t.TempDir(), "archive")
		must.NoError(t, os.WriteFile(file, archive, 0o600))
		for _, read := range []func(p *picker) error{
			func(p *picker) error { return p.untar(bytes.NewReader(archive)) },
			func(p *picker) error { return p.untargz(bytes.NewReader(archive)) },
			func(p *picker) error { return p.unzip(file) },
		} {
			p := &picker{files: Files{}}
			_ = read(p) // most are no archives
			for name := range p.files {
				must.True(t, filepath.IsLocal(name) && path.Clean(name) == name && strings.HasSuffix(name, sidecar.Suffix), must.Sprintf("%q", name))
			}
		}
	})
}

// FuzzLock: no lock file crashes the reader, and a valid one is the same after
// writing.
func FuzzLock(f *testing.F) {
	f.Add([]byte("catalog \"git::https://example.com/x\" {\n commit = \"abc\"\n content = \"h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"\n sidecars = { a = \"b\" }\n}\n"))
	f.Add([]byte("catalog \"a\" {\n commit = \"\"\n archive = \"x\"\n content = \"../../x\"\n sidecars = {}\n}\ncatalog \"a\" {}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		path := filepath.Join(t.TempDir(), "catalogs.lock.hcl")
		must.NoError(t, os.WriteFile(path, src, 0o600))
		lock, diags := ReadLock(path)
		if diags.HasErrors() {
			return
		}
		must.NoError(t, os.WriteFile(path, lock.Bytes(), 0o600))
		again, diags := ReadLock(path)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, string(lock.Bytes()), string(again.Bytes()))
	})
}
