package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Limits of a catalog. Definitions are small texts, so larger content suggests a wrong
// address.
const (
	maxDownloadBytes   = 64 << 20
	maxUnpackedBytes   = 256 << 20
	maxEntries         = 20_000
	maxDefinitionBytes = 1 << 20
	maxDefinitions     = 1_000
)

// Files maps slash-separated paths below a catalog's root to the text of definitions.
type Files map[string][]byte

// Digest hashes the names and texts: "h1:" and a base64 hash, the format of Go's
// checksum database and of Terraform's lock files.
func (f Files) Digest() (string, error) {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(f[name])), nil
	})
}

// picker selects the definitions below a folder.
type picker struct {
	folder  string
	files   Files
	entries int
}

// entry is called for each entry of an archive or repository. It reads definitions
// with open and ignores all others.
func (p *picker) entry(name string, regular bool, open func() (io.Reader, error)) error {
	if p.entries++; p.entries > maxEntries {
		return fmt.Errorf("it contains more than %d files", maxEntries)
	}
	clean := path.Clean(name)
	if path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(name, "\\\x00\n") {
		return fmt.Errorf("it contains a file named %q, which is outside the catalog", name)
	}
	if p.folder != "" {
		inside, ok := strings.CutPrefix(clean, p.folder+"/")
		if !ok {
			return nil
		}
		clean = inside
	}
	if !strings.HasSuffix(clean, sidecar.Suffix) {
		return nil
	}
	if !regular {
		return fmt.Errorf("%s is not a regular file: a catalog must not contain links", name)
	}
	r, err := open()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxDefinitionBytes+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxDefinitionBytes {
		return fmt.Errorf("%s has more than %d bytes", name, maxDefinitionBytes)
	}
	p.files[clean] = text
	if len(p.files) > maxDefinitions {
		return fmt.Errorf("it has more than %d definitions", maxDefinitions)
	}
	return nil
}

// picked returns the definitions found.
func (p *picker) picked() (Files, error) {
	if len(p.files) > 0 {
		return p.files, nil
	}
	if p.folder != "" {
		return nil, fmt.Errorf("it has no file ending in %s below the folder %s", sidecar.Suffix, p.folder)
	}
	return nil, fmt.Errorf("it has no file ending in %s", sidecar.Suffix)
}

var errTooBig = errors.New("it is too large for a catalog")

// counted reads at most limit bytes and fails if there are more.
type counted struct {
	r     io.Reader
	left  int64
	total int64 // expected; not positive if unknown
	read  int64
	tell  func(read, total int64) // may be nil
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.read += int64(n)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", errTooBig, c.read+c.left)
	}
	if c.tell != nil && n > 0 {
		c.tell(c.read, c.total)
	}
	return n, err
}
