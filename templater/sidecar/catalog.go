package sidecar

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Suffix is the suffix of definition files.
const Suffix = ".sidecar.hcl"

// Catalog is a set of definitions, by name and version. The zero value is empty.
type Catalog struct {
	byName map[string][]*Definition // newest first
	files  map[string]*hcl.File
	// folders has the folder of each definition.
	folders map[*Definition]fs.FS
}

// Load adds every *.sidecar.hcl file below the root of fsys to the catalog.
// Prefix is prepended to file names in diagnostics. A name and version that an earlier
// Load added is skipped, so that the first catalog wins; a duplicate within one Load
// is an error.
func (c *Catalog) Load(fsys fs.FS, prefix string) hcl.Diagnostics {
	var diags hcl.Diagnostics
	var loaded []*Definition
	if c.files == nil {
		c.byName, c.files = map[string][]*Definition{}, map[string]*hcl.File{}
		c.folders = map[*Definition]fs.FS{}
	}
	err := fs.WalkDir(fsys, ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(p, Suffix) {
			return err
		}
		src, err := bounds.ReadFS(fsys, p, bounds.DefinitionBytes)
		if err != nil {
			return err
		}
		name := path.Join(prefix, p)
		c.files[name] = &hcl.File{Bytes: UnixLines(src)}
		d, more := Parse(src, name)
		diags = append(diags, more...)
		if d == nil {
			return nil
		}
		loaded = append(loaded, d)
		c.folders[d], err = fs.Sub(fsys, path.Dir(p))
		return err
	})
	if err != nil {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Cannot read catalog",
			Detail: fmt.Sprintf("%s: %s. Check -catalog and NOMAD_SIDECAR_CATALOG.", prefix, err)})
	}
	return append(diags, c.add(loaded)...)
}

func (c *Catalog) add(loaded []*Definition) hcl.Diagnostics {
	var diags hcl.Diagnostics
	fresh := map[string]*Definition{}
	for _, d := range loaded {
		key := d.Name + "@" + d.Version.String()
		if first := fresh[key]; first != nil {
			diags = append(diags, diagnostic.Error(d.Range, "Duplicate sidecar", fmt.Sprintf(
				"Sidecar %q version %s is already defined at %s. Give one of them another version or name.", d.Name, d.Version, first.Range)))
			continue
		}
		fresh[key] = d
		known := slices.ContainsFunc(c.byName[d.Name], func(o *Definition) bool { return o.Version.Equal(d.Version) })
		if known {
			continue
		}
		c.byName[d.Name] = append(c.byName[d.Name], d)
		slices.SortStableFunc(c.byName[d.Name], func(x, y *Definition) int { return y.Version.Compare(x.Version) })
	}
	return diags
}

// Beside returns the text of a file in the folder of a definition, or nil if the folder has
// no regular file of that name: a link could lead anywhere. Of a longer file it returns most
// bytes and one more.
func (c *Catalog) Beside(d *Definition, name string, most int) ([]byte, error) {
	folder := c.folders[d]
	if folder == nil {
		return nil, nil
	}
	info, err := fs.Lstat(folder, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return bounds.ReadFS(folder, name, most)
}

// Files returns the sources that were read, for diagnostics.
func (c *Catalog) Files() map[string]*hcl.File { return c.files }

// Definitions returns all definitions, sorted by name, newest version first.
func (c *Catalog) Definitions() []*Definition {
	var out []*Definition
	for _, name := range c.Names() {
		out = append(out, c.byName[name]...)
	}
	return out
}

// Names returns the sorted names of the sidecars.
func (c *Catalog) Names() []string { return slices.Sorted(maps.Keys(c.byName)) }

// Versions returns the definitions called name, newest first.
func (c *Catalog) Versions(name string) []*Definition { return slices.Clone(c.byName[name]) }

// Find returns the newest definition called name that satisfies every constraint, or
// nil. Pre-releases match only if a constraint names one, as in go-version, or if
// there is no constraint and no release.
func (c *Catalog) Find(name string, constraints ...version.Constraints) *Definition {
	versions := c.byName[name]
	for _, d := range versions {
		ok := true
		for _, con := range constraints {
			ok = ok && con.Check(d.Version)
		}
		if ok && (len(constraints) > 0 || d.Version.Prerelease() == "") {
			return d
		}
	}
	if len(constraints) == 0 && len(versions) > 0 {
		return versions[0]
	}
	return nil
}
