package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/jobs"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// builtin names the catalog in the program itself, in diagnostics.
const builtin = "<built-in>"

// catalogDirs are the folders of definitions to use; none means the built-in ones.
func (p *Program) catalogDirs(flags []string) []string {
	if len(flags) > 0 {
		return flags
	}
	return filepath.SplitList(getenv(p.Environ, "NOMAD_SIDECAR_CATALOG"))
}

// loadCatalog reads all catalogs; a definition in an earlier folder wins over the
// same version of it in a later one.
func loadCatalog(dirs []string) (*sidecar.Catalog, hcl.Diagnostics) {
	c := &sidecar.Catalog{}
	if len(dirs) == 0 {
		definitions, err := fs.Sub(jobs.Sidecars, "sidecars")
		if err != nil {
			return c, failure("Cannot read catalog", fmt.Sprintf("%s: %s.", builtin, err))
		}
		return c, c.Load(definitions, builtin)
	}
	var diags hcl.Diagnostics
	for _, dir := range dirs {
		diags = append(diags, c.Load(os.DirFS(dir), filepath.ToSlash(dir))...)
	}
	return c, diags
}
