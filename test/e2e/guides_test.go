package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/guide"
)

// TestGuides runs the commands in the guides that need an agent. The templater's tests run the
// other guides.
func TestGuides(t *testing.T) {
	t.Parallel()
	guides, err := filepath.Glob(repository + "/docs/*.md")
	must.NoError(t, err)
	must.SliceNotEmpty(t, guides)
	for _, path := range guides {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		if !guide.NeedsNomad(string(text)) {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			c := start(t, "runc")
			programs := filepath.Dir(program(t, "nomad-sidecar"))
			guide.Run(t, path, guide.Options{Nomad: true, Env: []string{
				"NOMAD_ADDR=" + c.Address(),
				"PATH=" + programs + ":" + filepath.Dir(c.Nomad()) + ":" + os.Getenv("PATH"),
			}})
		})
	}
}
