package cli

import (
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// loadPolicy reads policies from files and folders, in the given order, and checks them against
// the catalog. The sources are added to the reporter.
func loadPolicy(paths []string, catalog *sidecar.Catalog, r *reporter) (*policy.Policy, hcl.Diagnostics) {
	rules := &policy.Policy{}
	defer func() { r.know(rules.Files()) }()
	var diags hcl.Diagnostics
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return rules, append(diags, failureOf("Cannot read the policy", err)...)
		}
		if info.IsDir() {
			diags = append(diags, rules.Load(os.DirFS(path), filepath.ToSlash(path))...)
			continue
		}
		src, err := bounds.ReadFile(path, bounds.DefinitionBytes)
		if err != nil {
			return rules, append(diags, failureOf("Cannot read the policy", err)...)
		}
		diags = append(diags, rules.Add(src, filepath.ToSlash(path))...)
	}
	if diags.HasErrors() {
		return rules, diags
	}
	return rules, append(diags, rules.CheckCatalog(catalog)...)
}
