package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// definition is the text of a sidecar with one parameter and a memory reservation.
func definition(name, version string, memory int) string {
	return fmt.Sprintf(`sidecar %q {
  version = %q
  summary = "A test."

  parameter "level" {
    type    = string
    default = "info"
  }

  task %q {
    driver = "pod"
    resources {
      memory = %d
    }
  }
}
`, name, version, name, memory)
}

// newGetter works in an empty cache, and shows at the end of the test that nothing is
// left in the folder for temporary files.
func newGetter(t *testing.T) *Getter {
	t.Helper()
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Cleanup(func() {
		left, err := os.ReadDir(temporary)
		must.NoError(t, err)
		must.SliceEmpty(t, left)
	})
	return &Getter{Cache: Cache{Dir: filepath.Join(t.TempDir(), "cache")}, Environ: gitHome(t)}
}

// gitHome is an environment without the settings of whoever runs the tests.
func gitHome(t *testing.T) []string {
	return append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost")
}

// get parses an address and gets it.
func get(t *testing.T, g *Getter, address string, locked *Entry, upgrade bool) (*Result, hcl.Diagnostics) {
	t.Helper()
	a, err := Parse(address)
	must.NoError(t, err)
	r, _, diags := g.Get(t.Context(), a, locked, upgrade)
	return r, diags
}

// got is get without an error.
func got(t *testing.T, g *Getter, address string, locked *Entry, upgrade bool) *Result {
	t.Helper()
	r, diags := get(t, g, address, locked, upgrade)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return r
}

// fails is get with one error, whose text it returns.
func fails(t *testing.T, g *Getter, address string, locked *Entry, upgrade bool) string {
	t.Helper()
	_, diags := get(t, g, address, locked, upgrade)
	must.SliceLen(t, 1, diags, must.Sprint(diags))
	return diags[0].Summary + "\n" + diags[0].Detail
}

// opened are the sidecars that Open gives with only this entry locked.
func opened(t *testing.T, c Cache, e *Entry) (map[string]string, hcl.Diagnostics) {
	t.Helper()
	a, err := Parse(e.Address)
	must.NoError(t, err)
	catalog := &sidecar.Catalog{}
	diags := Open(catalog, c, &Lock{Entries: map[string]*Entry{e.Address: e}}, a)
	return sideOf(catalog).digests, diags
}

// repo is a git repository with a work tree.
type repo struct {
	t       *testing.T
	dir     string
	environ []string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &repo{t: t, dir: t.TempDir(), environ: gitHome(t)}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = r.dir, r.environ
	out, err := cmd.CombinedOutput()
	must.NoError(r.t, err, must.Sprint(string(out)))
	return strings.TrimSpace(string(out))
}

// commit writes files and commits them; the result is the commit's ID.
func (r *repo) commit(files map[string]string) string {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		must.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must.NoError(r.t, os.WriteFile(path, []byte(text), 0o644))
	}
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "--message=x")
	return r.git("rev-parse", "HEAD")
}

func (r *repo) address(rest string) string { return "git::file://" + r.dir + rest }

// tarball is a compressed archive of entries, in their order.
func tarball(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, h := range entries {
		text := h.PAXRecords["text"]
		h.PAXRecords = nil
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(text))
		}
		h.Mode = 0o644
		must.NoError(t, archive.WriteHeader(&h))
		_, err := archive.Write([]byte(text))
		must.NoError(t, err)
	}
	must.NoError(t, archive.Close())
	must.NoError(t, compressed.Close())
	return out.Bytes()
}

// file is a plain file for tarball.
func file(name, text string) tar.Header {
	return tar.Header{Name: name, PAXRecords: map[string]string{"text": text}}
}
