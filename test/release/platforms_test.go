package release

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestNomadSidecar_Smoke runs scripts/smoke.sh, which uses nomad-sidecar as on other systems. The
// release workflow runs it on macOS and Windows.
func TestNomadSidecar_Smoke(t *testing.T) {
	bin := build(t, "native", "nomad-sidecar")
	smoke(t, filepath.Join(bin, "nomad-sidecar"))
}

// TestPrograms_Arm64 runs the arm64 programs in an emulator and checks that they start.
func TestPrograms_Arm64(t *testing.T) {
	if os.Getenv("POD_TEST_ALL") == "" {
		t.Skip("needs minutes: POD_TEST_ALL=1 runs it")
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Skip("needs qemu-aarch64-static, of the Debian package qemu-user-static")
	}
	t.Setenv("GOARCH", "arm64")
	bin := build(t, "arm64", all(t)...)
	for _, program := range all(t) {
		path := filepath.Join(bin, program)
		parsed, err := elf.Open(path)
		must.NoError(t, err)
		must.Eq(t, elf.EM_AARCH64, parsed.Machine, must.Sprint(program))
		must.NoError(t, parsed.Close())
		help := exec.CommandContext(t.Context(), qemu, path, "-help")
		out, _ := help.CombinedOutput() // some exit with 2
		want := "Usage"
		if program == "nomad-driver-pod" {
			want = "This binary is a plugin"
		}
		must.StrContains(t, strings.ToLower(string(out)), strings.ToLower(want), must.Sprint(program))
	}
	smoke(t, qemu, filepath.Join(bin, "nomad-sidecar"))
}

// TestNomadSidecar_OtherSystems checks that nomad-sidecar and its tests compile for other systems.
func TestNomadSidecar_OtherSystems(t *testing.T) {
	if os.Getenv("POD_TEST_ALL") == "" {
		t.Skip("compiles for minutes: POD_TEST_ALL=1 runs it")
	}
	for _, system := range []string{"darwin", "windows"} {
		vet := exec.CommandContext(t.Context(), "go", "vet", "-tags", tags, "./templater/...")
		vet.Dir = repository
		vet.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system)
		out, err := vet.CombinedOutput()
		must.NoError(t, err, must.Sprint(system+": "+string(out)))
	}
}

func smoke(t *testing.T, command ...string) {
	t.Helper()
	script := exec.CommandContext(t.Context(), filepath.Join(repository, "scripts/smoke.sh"), command...)
	script.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	out, err := script.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.StrContains(t, string(out), "smoke: passed on Linux")
}

// all lists all programs.
func all(t *testing.T) []string {
	t.Helper()
	mains, err := filepath.Glob(filepath.Join(repository, "jobs/sidecars/*/main.go"))
	must.NoError(t, err)
	must.SliceNotEmpty(t, mains)
	found := []string{"nomad-driver-pod", "nomad-sidecar", "webapp"}
	for _, main := range mains {
		found = append(found, filepath.Base(filepath.Dir(main)))
	}
	return found
}
