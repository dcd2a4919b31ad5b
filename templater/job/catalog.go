package job

import (
	"github.com/hashicorp/go-version"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Catalog is where definitions are looked up.
type Catalog interface {
	Find(name string, constraints ...version.Constraints) *sidecar.Definition
	Versions(name string) []*sidecar.Definition
	Names() []string
}
