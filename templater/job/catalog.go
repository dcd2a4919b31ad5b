package job

import (
	"github.com/hashicorp/go-version"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Catalog looks up definitions.
type Catalog interface {
	Find(name string, constraints ...version.Constraints) *sidecar.Definition
	Versions(name string) []*sidecar.Definition
	Names() []string
}
