package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// LockName is the name of the lock file in the working directory.
const LockName = ".sidecar.lock.hcl"

const lockHeader = `# Kept by "nomad-sidecar get", which pins the catalogs here that were fetched from an
# address. Put it under version control. Edits are lost; a block may be removed.
`

// Lock pins catalogs by the names of their addresses.
type Lock struct {
	Entries map[string]*Entry
	// File is the source, for diagnostics; nil if the file does not exist.
	File *hcl.File
}

// Entry pins the catalog at one address.
type Entry struct {
	Kind    Kind
	Address string
	// Origin is the source of the definitions: the commit of a git repository, or the
	// digest of an OCI manifest or of an archive.
	Origin string
	// Content is the digest of the definitions' files, Files.Digest.
	Content string
	// Sidecars has the digest of each definition's meaning, by "NAME VERSION".
	Sidecars map[string]string
	// Range is the header of the block; zero for entries not read from a file.
	Range hcl.Range
}

// originNames maps kinds to the attribute that holds Origin.
func originNames() map[Kind]string {
	return map[Kind]string{Git: "commit", Archive: "archive", OCI: "manifest"}
}

// From returns the origin with its kind: "commit 12ab…".
func (e *Entry) From() string { return originNames()[e.Kind] + " " + e.Origin }

// ReadLock reads a lock file. A missing file is an empty lock.
func ReadLock(path string) (*Lock, hcl.Diagnostics) {
	lock := &Lock{Entries: map[string]*Entry{}}
	src, err := bounds.ReadFile(path, bounds.DefinitionBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	if err != nil {
		return lock, failure("Cannot read the lock file", err.Error()+".", hcl.Range{})
	}
	if bad := bounds.HCL(src, path, bounds.DefinitionBytes); bad != nil {
		return lock, hcl.Diagnostics{bad}
	}
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	lock.File = file
	if diags.HasErrors() {
		return lock, damaged(diags)
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "catalog", LabelNames: []string{"address"}}}})
	for _, b := range content.Blocks {
		entry, more := decodeEntry(b)
		diags = append(diags, more...)
		if first := lock.Entries[entry.Address]; first != nil {
			diags = append(diags, failure("Catalog locked twice", "It is already locked at "+first.Range.String()+".", b.DefRange)...)
		}
		lock.Entries[entry.Address] = entry
	}
	return lock, damaged(diags)
}

func decodeEntry(b *hcl.Block) (*Entry, hcl.Diagnostics) {
	e := &Entry{Address: b.Labels[0], Range: b.DefRange}
	var body struct {
		Commit   string            `hcl:"commit,optional"`
		Archive  string            `hcl:"archive,optional"`
		Manifest string            `hcl:"manifest,optional"`
		Content  string            `hcl:"content"`
		Sidecars map[string]string `hcl:"sidecars"`
	}
	diags := gohcl.DecodeBody(b.Body, nil, &body)
	e.Content, e.Sidecars = body.Content, body.Sidecars
	for kind, origin := range map[Kind]string{Git: body.Commit, Archive: body.Archive, OCI: body.Manifest} {
		if origin != "" && e.Kind != "" {
			diags = append(diags, failure("Two origins", "A catalog has one of commit, archive and manifest.", b.DefRange)...)
		}
		if origin != "" {
			e.Kind, e.Origin = kind, origin
		}
	}
	if _, err := (Cache{}).Folder(e.Content); err != nil && !diags.HasErrors() {
		diags = append(diags, failure("Invalid digest", "content: "+err.Error()+".", b.DefRange)...)
	}
	if e.Kind == "" && !diags.HasErrors() {
		diags = append(diags, failure("No origin", "A catalog has one of commit, archive and manifest.", b.DefRange)...)
	}
	return e, diags
}

// damaged adds instructions for repair to each error.
func damaged(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range diags {
		d.Detail += " nomad-sidecar get maintains this file: restore it from version control, or remove it and fetch the catalogs again."
	}
	return diags
}

// Bytes returns the text of the file. It is deterministic.
func (l *Lock) Bytes() []byte {
	f := hclwrite.NewEmptyFile()
	for _, address := range slices.Sorted(maps.Keys(l.Entries)) {
		e := l.Entries[address]
		f.Body().AppendNewline()
		b := f.Body().AppendNewBlock("catalog", []string{address}).Body()
		b.SetAttributeValue(originNames()[e.Kind], cty.StringVal(e.Origin))
		b.SetAttributeValue("content", cty.StringVal(e.Content))
		sidecars := map[string]cty.Value{}
		for name, digest := range e.Sidecars {
			sidecars[name] = cty.StringVal(digest)
		}
		b.SetAttributeValue("sidecars", cty.MapVal(sidecars))
	}
	return append([]byte(lockHeader), hclwrite.Format(f.Bytes())...)
}

// Update atomically adds entries to the lock file at path and keeps entries that other
// processes added meanwhile. An unchanged file is not written.
func Update(c Cache, path string, entries []*Entry) error {
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	lock, diags := ReadLock(path)
	if diags.HasErrors() {
		return diags
	}
	for _, e := range entries {
		lock.Entries[e.Address] = e
	}
	text := lock.Bytes()
	if lock.File != nil && bytes.Equal(lock.File.Bytes, text) {
		return nil
	}
	return replace(path, text)
}

func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), LockName+".")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

func failure(summary, detail string, at hcl.Range) hcl.Diagnostics {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: strings.TrimSpace(detail)}
	if at != (hcl.Range{}) {
		d.Subject = at.Ptr()
	}
	return hcl.Diagnostics{d}
}
