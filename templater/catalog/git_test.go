package catalog

import (
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestGitRefs(t *testing.T) {
	r, g := newRepo(t), newGetter(t)
	first := r.commit(map[string]string{"sidecars/x/x.sidecar.hcl": definition("x", "1.0.0", 10), "README.md": "x"})
	r.git("tag", "--annotate", "--message=x", "v1.0")
	second := r.commit(map[string]string{"sidecars/x/x.sidecar.hcl": definition("x", "2.0.0", 10)})
	r.git("branch", "next/two")
	for rest, want := range map[string]string{
		"":                            second + " x 2.0.0",
		"?ref=v1.0":                   first + " x 1.0.0",
		"//sidecars?ref=main":         second + " x 2.0.0",
		"?ref=next/two":               second + " x 2.0.0",
		"?ref=" + first:               first + " x 1.0.0",
		"//sidecars?ref=" + first[:9]: first + " x 1.0.0",
	} {
		t.Run(rest, func(t *testing.T) {
			result := got(t, g, r.address(rest), nil, false)
			must.Eq(t, Git, result.Entry.Kind)
			commit, key, _ := strings.Cut(want, " ")
			must.Eq(t, commit, result.Entry.Origin)
			sidecars, diags := opened(t, g.Cache, result.Entry)
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			must.MapContainsKeys(t, sidecars, []string{key})
			must.Eq(t, result.Entry.Sidecars, sidecars)
		})
	}
	must.StrContains(t, fails(t, g, r.address("?ref=v9"), nil, false), `the repository has no branch, tag or commit "v9"`)
	must.StrContains(t, fails(t, g, r.address("//none"), nil, false), "no file ending in .sidecar.hcl below the folder none")
	must.StrContains(t, fails(t, g, "git::file:///nowhere/at/all", nil, false), "Cannot fetch the catalog\ngit::file:///nowhere/at/all: git fetch: ")
}

// A branch that moved on does not matter to who locked a commit of it.
func TestGitLockedCommitIsFetched(t *testing.T) {
	r, g := newRepo(t), newGetter(t)
	r.commit(map[string]string{"x.sidecar.hcl": definition("x", "1.0.0", 10)})
	locked := got(t, g, r.address("?ref=main"), nil, false).Entry
	r.commit(map[string]string{"x.sidecar.hcl": definition("x", "1.1.0", 20)})
	must.True(t, got(t, g, r.address("?ref=main"), locked, false).Cached)

	empty := *g
	empty.Cache.Dir = filepath.Join(t.TempDir(), "other")
	again := got(t, &empty, r.address("?ref=main"), locked, false)
	must.Eq(t, locked, again.Entry)
	must.False(t, again.Cached)
	must.True(t, empty.Cache.Has(locked.Content))

	upgraded := got(t, g, r.address("?ref=main"), locked, true)
	must.MapContainsKeys(t, upgraded.Entry.Sidecars, []string{"x 1.1.0"})
	must.SliceLen(t, 3, upgraded.Changes)
	must.StrContains(t, upgraded.Changes[0], "x 1.0.0 (sha256:")
	must.StrContains(t, upgraded.Changes[0], "…) is now 1.1.0 (sha256:")
	must.Eq(t, []string{`  version: "1.0.0" → "1.1.0"`, `  task "x".resources.memory: 10 → 20`}, upgraded.Changes[1:])
}

// Where the locked commit is gone, what the address names is taken only if it is
// the same.
func TestGitRewrittenHistory(t *testing.T) {
	r, g := newRepo(t), newGetter(t)
	r.commit(map[string]string{"x.sidecar.hcl": definition("x", "1.0.0", 10), "note": "a"})
	locked := got(t, g, r.address("?ref=main"), nil, false).Entry
	rewrite := func(files map[string]string) {
		r.git("checkout", "--quiet", "--orphan", "fresh")
		r.commit(files)
		r.git("branch", "--quiet", "--force", "main", "fresh")
		r.git("checkout", "--quiet", "main")
		r.git("branch", "--quiet", "--delete", "fresh")
		r.git("reflog", "expire", "--expire=now", "--all")
		r.git("gc", "--quiet", "--prune=now")
	}
	rewrite(map[string]string{"note": "b"})
	empty := *g
	empty.Cache.Dir = filepath.Join(t.TempDir(), "other")
	must.Eq(t, locked, got(t, &empty, r.address("?ref=main"), locked, false).Entry)

	rewrite(map[string]string{"x.sidecar.hcl": definition("x", "1.0.0", 99), "y.sidecar.hcl": definition("y", "1.0.0", 1)})
	empty.Cache.Dir = filepath.Join(t.TempDir(), "another")
	text := fails(t, &empty, r.address("?ref=main"), locked, false)
	must.StrContains(t, text, "Catalog differs from the lock")
	must.StrContains(t, text, "which differs from the locked commit "+locked.Origin)
	must.StrContains(t, text, "  x 1.0.0 ("+short(locked.Sidecars["x 1.0.0"])+") is now 1.0.0 (sha256:")
	must.StrContains(t, text, "and has the same version")
	must.StrContains(t, text, "is new")
	must.StrContains(t, text, "nomad-sidecar get -upgrade -catalog '"+r.address("?ref=main")+"'")
	must.StrNotContains(t, text, "memory") // the old definition is nowhere

	// With the old one in a copy of another catalog it is told what changed in it.
	r.git("checkout", "--quiet", "-b", "other")
	r.git("rm", "--quiet", "x.sidecar.hcl")
	r.commit(map[string]string{"old.sidecar.hcl": definition("x", "1.0.0", 10)})
	got(t, &empty, r.address("?ref=other"), nil, false)
	must.StrContains(t, fails(t, &empty, r.address("?ref=main"), locked, false), `    task "x".resources.memory: 10 → 99`)
}

// Only what is stored counts: no link, no filter, no setting of the user.
func TestGitHostileRepository(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		r, g := newRepo(t), newGetter(t)
		must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(r.dir, "x.sidecar.hcl")))
		r.commit(nil)
		must.StrContains(t, fails(t, g, r.address(""), nil, false), "x.sidecar.hcl is not a regular file: a catalog must not contain links")
	})
	t.Run("big", func(t *testing.T) {
		r, g := newRepo(t), newGetter(t)
		r.commit(map[string]string{"x.sidecar.hcl": strings.Repeat("#", maxDefinitionBytes+1)})
		must.StrContains(t, fails(t, g, r.address(""), nil, false), "too large for a catalog")
	})
	t.Run("line ends", func(t *testing.T) {
		r, g := newRepo(t), newGetter(t)
		r.commit(map[string]string{"x.sidecar.hcl": definition("x", "1.0.0", 10), ".gitattributes": "* text eol=crlf"})
		g.Environ = append(g.Environ, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.autocrlf", "GIT_CONFIG_VALUE_0=true", "GIT_DIR=/nowhere")
		result := got(t, g, r.address(""), nil, false)
		files, err := g.Cache.Read(result.Entry.Content)
		must.NoError(t, err)
		must.Eq(t, definition("x", "1.0.0", 10), string(files["x.sidecar.hcl"]))
	})
}

// gitServer serves repositories below dir by git's own program, to user:password.
func gitServer(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	backend := "/usr/lib/git-core/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		t.Skipf("git's web server is not installed: %v", err)
	}
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=user"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret/word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestGitByHTTP(t *testing.T) {
	r, g := newRepo(t), newGetter(t)
	commit := r.commit(map[string]string{"sidecars/x.sidecar.hcl": definition("x", "1.0.0", 10)})
	server := gitServer(t, r.dir)
	plain := "git::" + server.URL + "/.git//sidecars?ref=main"
	secret := strings.Replace(plain, "//127", "//user:"+url.QueryEscape("s3cret/word")+"@127", 1)

	result := got(t, g, secret, nil, false)
	must.Eq(t, commit, result.Entry.Origin)
	must.Eq(t, plain, result.Entry.Address)

	// Who has no credentials is not asked for any at the terminal.
	must.StrContains(t, fails(t, g, plain, nil, false), "terminal prompts disabled")

	text := fails(t, g, strings.Replace(secret, "main", "v9", 1), nil, false)
	wrong := fails(t, g, strings.Replace(secret, "word", "wxyz", 1), nil, false)
	for _, shown := range []string{text, wrong} {
		must.StrNotContains(t, shown, "s3cret")
	}
	must.StrContains(t, wrong, "Authentication failed")
}

// A server that never answers costs no more than the time that was given, and git's
// connection to it ends.
func TestGitIsBounded(t *testing.T) {
	_, g := newRepo(t), newGetter(t)
	asked, left := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(context.DeadlineExceeded)
	}()
	a, err := Parse("git::" + server.URL + "/x.git")
	must.NoError(t, err)
	_, _, diags := g.Get(ctx, a, nil, false)
	must.SliceLen(t, 1, diags)
	must.StrContains(t, diags[0].Detail, context.DeadlineExceeded.Error())
	<-left
}
