package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestPackaging_ExampleInREADME checks that README.md shows the package's example configuration,
// which make test-packages runs.
func TestPackaging_ExampleInREADME(t *testing.T) {
	example, err := os.ReadFile(filepath.Join(repository, "packaging/nomad-driver-pod/pod.hcl"))
	must.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	must.NoError(t, err)
	must.StrContains(t, strings.ReplaceAll(string(readme), "\n   ", "\n"), "```hcl\n"+string(example)+"```\n")
}

// TestPackaging_AppArmorProfile checks that the profile has the name used in the systemd unit.
func TestPackaging_AppArmorProfile(t *testing.T) {
	profile, err := os.ReadFile(filepath.Join(repository, "packaging/nomad-sidecar/apparmor"))
	must.NoError(t, err)
	unit, err := os.ReadFile(filepath.Join(repository, "jobs/serve/nomad-sidecar.service"))
	must.NoError(t, err)
	for line := range strings.Lines(string(profile)) {
		if rest, ok := strings.CutPrefix(line, "profile "); ok {
			name, _, _ := strings.Cut(rest, " ")
			must.StrContains(t, string(unit), "\nAppArmorProfile=-"+name+"\n")
			return
		}
	}
	t.Fatal("no profile")
}
