package release

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const (
	repository = "../.."
	tags       = "containers_image_openpgp exclude_graphdriver_btrfs"
	version    = "1.2.3-release"
	commit     = "0123456789abcdef0123456789abcdef01234567"
)

// programs lists one program of each kind: the driver, the templater, an example and a sidecar.
func programs() []string {
	return []string{"nomad-driver-pod", "nomad-sidecar", "webapp", "topz"}
}

func TestPrograms_StaticStrippedReproducible(t *testing.T) {
	short, long := build(t, "a", programs()...), build(t, "another/directory", programs()...)
	for _, program := range programs() {
		t.Run(program, func(t *testing.T) {
			path := filepath.Join(short, program)
			first, err := os.ReadFile(path)
			must.NoError(t, err)
			second, err := os.ReadFile(filepath.Join(long, program))
			must.NoError(t, err)
			must.Eq(t, sha256.Sum256(first), sha256.Sum256(second), must.Sprint("built in two directories"))
			if strings.HasPrefix(program, "nomad-") {
				must.True(t, bytes.Contains(first, []byte(version)), must.Sprint("version"))
				must.True(t, bytes.Contains(first, []byte(commit)), must.Sprint("commit"))
			}
			parsed, err := elf.Open(path)
			must.NoError(t, err)
			defer parsed.Close()
			for _, p := range parsed.Progs {
				must.NotEq(t, elf.PT_INTERP, p.Type, must.Sprint("program interpreter"))
				must.NotEq(t, elf.PT_DYNAMIC, p.Type, must.Sprint("libraries"))
			}
			for _, name := range []string{".symtab", ".debug_info", ".zdebug_info"} {
				must.Nil(t, parsed.Section(name), must.Sprint(name))
			}
		})
	}
}

// build builds programs of a copy of the repository in a directory of that name, and returns the
// directory of the programs.
func build(t *testing.T, name string, programs ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must.NoError(t, os.MkdirAll(dir, 0o755))
	files := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
		"*.go", "*.hcl", "CHANGELOG.md", "go.mod", "go.sum", "driver", "jobs", "plugin", "scripts", "templater")
	files.Dir = repository
	list, err := files.Output()
	if err != nil {
		t.Skipf("needs a clone of the repository: git ls-files: %v", err)
	}
	for file := range bytes.SplitSeq(bytes.TrimRight(list, "\x00"), []byte{0}) {
		copyFile(t, filepath.Join(repository, string(file)), filepath.Join(dir, string(file)))
	}
	script := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts", "build.sh"), append([]string{tags}, programs...)...)
	script.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "VERSION=v"+version, "COMMIT="+commit)
	out, err := script.CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	return filepath.Join(dir, "bin")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Lstat(from)
	if os.IsNotExist(err) {
		return // removed, but not committed yet
	}
	must.NoError(t, err)
	must.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	text, err := os.ReadFile(from)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(to, text, info.Mode().Perm()))
}
