package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/guide"
)

// guidePrograms are the programs that guides need beyond those that make deps installs.
var guidePrograms = map[string][]string{
	"quickstart-adapter.md":    {"/usr/sbin/haproxy"},
	"quickstart-ambassador.md": {"/usr/sbin/haproxy"},
}

// TestGuides runs the commands in the guides that need an agent. The templater's tests run the
// other guides.
func TestGuides(t *testing.T) {
	t.Parallel()
	guides, err := filepath.Glob(repository + "/docs/*.md")
	must.NoError(t, err)
	must.SliceNotEmpty(t, guides)
	for name := range guidePrograms {
		must.SliceContains(t, guides, repository+"/docs/"+name)
	}
	for _, path := range guides {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		if !guide.NeedsNomad(string(text)) {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			debian(t, guidePrograms[filepath.Base(path)]...)
			c := start(t, "runc")
			programs := filepath.Dir(program(t, "nomad-sidecar"))
			guide.Run(t, path, guide.Options{Nomad: true, Env: []string{
				"NOMAD_ADDR=" + c.Address(),
				"PATH=" + programs + ":" + filepath.Dir(c.Nomad()) + ":" + os.Getenv("PATH"),
			}})
		})
	}
}
