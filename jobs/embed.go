// Package jobs holds the sidecar catalog that is built into the templater.
//
// It only embeds files: it neither parses nor checks definitions, and it imports
// nothing from this module. The programs that some definitions run, and the example
// jobs, are in separate folders.
package jobs

import "embed"

// Sidecars is the built-in catalog: a tree of
// sidecars/<name>/<name>.sidecar.hcl, one folder per definition, named after
// the sidecar it defines, each with its README. Programs are not embedded.
//
//go:embed sidecars/*/*.sidecar.hcl sidecars/*/README.md
var Sidecars embed.FS
