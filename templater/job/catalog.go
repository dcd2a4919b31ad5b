package job

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/hashicorp/go-version"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Catalog looks up definitions.
type Catalog interface {
	Find(name string, constraints ...version.Constraints) *sidecar.Definition
	Versions(name string) []*sidecar.Definition
	Names() []string
}

// CatalogDigest returns a digest of the definitions of a catalog, "sha256:" and hex. It does not
// depend on where they come from.
func CatalogDigest(c Catalog) string {
	h := sha256.New()
	for _, name := range slices.Sorted(slices.Values(c.Names())) {
		for _, d := range c.Versions(name) {
			fmt.Fprintf(h, "%s %s %s\n", d.Name, d.Version, d.Digest)
		}
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}
