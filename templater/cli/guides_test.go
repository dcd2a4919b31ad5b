package cli_test

import (
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/guide"
)

// What the guides tell to do without a Nomad; test/e2e does the rest as well.
func TestGuides(t *testing.T) {
	guides, err := filepath.Glob("../../docs/*.md")
	must.NoError(t, err)
	must.SliceNotEmpty(t, guides)
	for _, path := range guides {
		t.Run(filepath.Base(path), func(t *testing.T) {
			guide.Run(t, path, guide.Options{})
		})
	}
}
