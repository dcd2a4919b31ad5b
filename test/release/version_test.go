package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// tree is a copy of what scripts/version.sh reads, in a git repository if init was called.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T, heading string) tree {
	t.Helper()
	tr := tree{t, t.TempDir()}
	must.NoError(t, os.Mkdir(filepath.Join(tr.dir, "scripts"), 0o755))
	copyFile(t, filepath.Join(repository, "scripts/version.sh"), filepath.Join(tr.dir, "scripts/version.sh"))
	tr.changelog(heading)
	return tr
}

func (tr tree) changelog(headings ...string) {
	tr.t.Helper()
	text := "# Changelog\n\n" + strings.Join(headings, "\n\n") + "\n"
	must.NoError(tr.t, os.WriteFile(filepath.Join(tr.dir, "CHANGELOG.md"), []byte(text), 0o644))
}

func (tr tree) git(args ...string) string {
	tr.t.Helper()
	cmd := exec.CommandContext(tr.t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.test"}, args...)...)
	cmd.Dir = tr.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_COMMITTER_DATE=@1700000000 +0000")
	out, err := cmd.CombinedOutput()
	must.NoError(tr.t, err, must.Sprint(string(out)))
	return strings.TrimSpace(string(out))
}

// commit commits all files and returns the hash.
func (tr tree) commit() string {
	tr.t.Helper()
	tr.git("init", "-q")
	tr.git("add", "-A")
	tr.git("commit", "-q", "--allow-empty", "-m", "x")
	return tr.git("rev-parse", "HEAD")
}

// version returns the lines that version.sh prints, or its error.
func (tr tree) version(env ...string) ([]string, string) {
	tr.t.Helper()
	cmd := exec.CommandContext(tr.t.Context(), filepath.Join(tr.dir, "scripts/version.sh"))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null"}, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	must.Eq(tr.t, err == nil, stderr.Len() == 0, must.Sprint(stderr.String()))
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), stderr.String()
}

const (
	unreleased = "## [0.4.0] - unreleased"
	released   = "## [0.4.0] - 2027-01-31"
)

func TestVersion_Commit(t *testing.T) {
	tr := newTree(t, unreleased)
	hash := tr.commit()
	got, _ := tr.version()
	must.Eq(t, []string{"0.4.0-dev+" + hash[:12], hash, "1700000000"}, got)

	tr.changelog(unreleased, "text")
	got, _ = tr.version()
	must.Eq(t, "0.4.0-dev+"+hash[:12]+".dirty", got[0])
}

func TestVersion_Tag(t *testing.T) {
	tr := newTree(t, released)
	hash := tr.commit()
	got, _ := tr.version()
	must.Eq(t, "0.4.0-dev+"+hash[:12], got[0], must.Sprint("before the tag"))
	tr.git("tag", "v0.4.0")
	got, _ = tr.version()
	must.Eq(t, []string{"0.4.0", hash, "1700000000"}, got)

	tr.changelog(released, "text")
	got, _ = tr.version()
	must.Eq(t, "0.4.1-dev+"+hash[:12]+".dirty", got[0])
	hash = tr.commit()
	got, _ = tr.version()
	must.Eq(t, "0.4.1-dev+"+hash[:12], got[0])
	tr.changelog("## [0.5.0] - unreleased", released)
	hash = tr.commit()
	got, _ = tr.version()
	must.Eq(t, "0.5.0-dev+"+hash[:12], got[0])
}

func TestVersion_TagThatChangelogContradicts(t *testing.T) {
	tr := newTree(t, unreleased)
	tr.commit()
	tr.git("tag", "v0.4.0")
	_, message := tr.version()
	must.StrContains(t, message, "CHANGELOG.md says that 0.4.0 is unreleased")

	tr = newTree(t, released)
	tr.commit()
	tr.git("tag", "v0.5.0")
	_, message = tr.version()
	must.StrContains(t, message, "the newest heading of CHANGELOG.md is 0.4.0")

	tr.changelog("## Changes")
	_, message = tr.version()
	must.StrContains(t, message, "no heading")
}

func TestVersion_Archive(t *testing.T) {
	tr := newTree(t, released)
	got, _ := tr.version()
	must.Eq(t, []string{"0.4.0-dev", "", ""}, got)
	got, _ = tr.version("VERSION=v0.4.0", "COMMIT=abc", "SOURCE_DATE_EPOCH=1")
	must.Eq(t, []string{"0.4.0", "abc", "1"}, got)

	// An archive that is unpacked in another repository.
	must.NoError(t, os.Mkdir(filepath.Join(tr.dir, "inner"), 0o755))
	inner := tree{t, filepath.Join(tr.dir, "inner")}
	must.NoError(t, os.Rename(filepath.Join(tr.dir, "scripts"), filepath.Join(inner.dir, "scripts")))
	inner.changelog(released)
	tr.commit()
	got, _ = inner.version()
	must.Eq(t, "0.4.0-dev", got[0])
}

// Programs that go build makes without scripts/build.sh are of the version that CHANGELOG.md
// prepares.
func TestVersion_InSource(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "CHANGELOG.md"))
	must.NoError(t, err)
	newest := regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`).FindSubmatch(text)
	must.SliceLen(t, 2, newest)
	for _, file := range []string{"driver/declared.go", "templater/cmd/nomad-sidecar/main.go"} {
		source, err := os.ReadFile(filepath.Join(repository, file))
		must.NoError(t, err)
		must.StrContains(t, string(source), `"`+string(newest[1])+`-dev"`, must.Sprint(file))
	}
}
