package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/jobs"
	"github.com/nomad-sidecar/nomad-sidecar/templater/catalog"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// builtin names the built-in catalog in diagnostics.
const builtin = "<built-in>"

// catalogs returns the folders and addresses to use; none means the built-in definitions.
func (p *Program) catalogs(flags []string) []string {
	if len(flags) > 0 {
		return flags
	}
	list := getenv(p.Environ, "NOMAD_SIDECAR_CATALOG")
	if catalog.IsAddress(list) {
		return strings.Fields(list) // addresses contain colons
	}
	return filepath.SplitList(list)
}

// loadCatalog reads all catalogs. If two contain the same version of a definition, the earlier
// catalog wins. The sources are added to the reporter.
func (p *Program) loadCatalog(flags []string, r *reporter) (*sidecar.Catalog, hcl.Diagnostics) {
	c := &sidecar.Catalog{}
	defer func() { r.know(c.Files()) }()
	sources := p.catalogs(flags)
	if len(sources) == 0 {
		definitions, err := fs.Sub(jobs.Sidecars, "sidecars")
		if err != nil {
			return c, failure("Cannot read catalog", fmt.Sprintf("%s: %s.", builtin, err))
		}
		return c, c.Load(definitions, builtin)
	}
	var diags hcl.Diagnostics
	for _, source := range sources {
		if catalog.IsAddress(source) {
			diags = append(diags, p.openAddress(c, source, r)...)
			continue
		}
		diags = append(diags, c.Load(os.DirFS(source), filepath.ToSlash(source))...)
	}
	return c, diags
}

// openAddress reads the fetched copy of a catalog.
func (p *Program) openAddress(into *sidecar.Catalog, source string, r *reporter) hcl.Diagnostics {
	address, err := catalog.Parse(source)
	if err != nil {
		return failureOf("Invalid catalog address", err)
	}
	cache, diags := p.cache()
	if diags.HasErrors() {
		return diags
	}
	lock, diags := readLock(r)
	if diags.HasErrors() {
		return diags
	}
	return catalog.Open(into, cache, lock, address)
}

func readLock(r *reporter) (*catalog.Lock, hcl.Diagnostics) {
	lock, diags := catalog.ReadLock(catalog.LockName)
	if lock.File != nil {
		r.know(map[string]*hcl.File{catalog.LockName: lock.File})
	}
	return lock, diags
}

// cache returns the cache in NOMAD_SIDECAR_CACHE, or the user's.
func (p *Program) cache() (catalog.Cache, hcl.Diagnostics) {
	dir := getenv(p.Environ, "NOMAD_SIDECAR_CACHE")
	if dir == "" {
		var err error
		if dir, err = catalog.DefaultDir(); err != nil {
			return catalog.Cache{}, failure("No cache", err.Error()+". Name a folder in NOMAD_SIDECAR_CACHE.")
		}
	}
	return catalog.Cache{Dir: dir}, nil
}
