package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// gitServer serves a repository by git's own program, for one user.
type gitServer struct {
	t    *testing.T
	dir  string // of the work tree
	addr string
}

const gitPassword = `p"w $x 'y'`

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	root := t.TempDir()
	g := &gitServer{t: t, dir: filepath.Join(root, "work")}
	g.command(root, "git", "init", "-q", "--bare", "site.git")
	g.command(root, "git", "clone", "-q", "site.git", "work")
	g.commit("first")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must.NoError(t, err)
	backend := &cgi.Handler{
		Path: "/usr/lib/git-core/git-http-backend",
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "reader" || password != gitPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	g.addr = listener.Addr().String()
	return g
}

func (g *gitServer) command(dir string, args ...string) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	must.NoError(g.t, err, must.Sprintf("%v: %s", args, out))
}

// commit replaces the history of main with one commit, as a force push does.
func (g *gitServer) commit(text string) {
	g.t.Helper()
	must.NoError(g.t, os.WriteFile(filepath.Join(g.dir, "page"), []byte(text), 0o644))
	g.command(g.dir, "git", "checkout", "-q", "--orphan", "new-"+text)
	g.command(g.dir, "git", "add", "page")
	g.command(g.dir, "git", "commit", "-q", "-m", text)
	g.command(g.dir, "git", "push", "-q", "--force", "origin", "HEAD:main")
}

// TestGitSync checks that each commit replaces the one before at once, also after a force push and
// after git was killed.
//
// Trap C5: a lock that a killed git left.
func TestGitSync(t *testing.T) {
	debian(t, "/usr/bin/git", "/usr/lib/git-core/git-http-backend")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		_, _, err := c.Client().Variables().Update(&api.Variable{
			Path: "nomad/jobs/git-sync", Items: api.VariableItems{"user": "reader", "password": gitPassword},
		}, nil)
		must.NoError(c.t, err)
		g := newGitServer(c.t)
		// The host's loopback: without a network of its own, the sidecar shares it.
		job := strings.Replace(testdata(c.t, "git-sync.nomad.hcl", "HOST", g.addr), `mode = "bridge"`, `mode = "host"`, 1)
		alloc := c.runAll(injectText(c.t, job))
		page := func(want string) {
			c.t.Helper()
			c.eventually("the page is "+want, func() error {
				text, err := os.ReadFile(filepath.Join(c.SharedDir(alloc.ID), "data", "site", "page"))
				if err == nil && string(text) != want {
					err = fmt.Errorf("page is %q", text)
				}
				return err
			})
		}
		page("first")
		must.Eq(c.t, "first", c.exec(alloc, "app", "/bin/sh", "-c", "cat $GIT_SYNC_DIR/page"))

		g.commit("second")
		must.NoError(c.t, c.Client().Allocations().Signal(alloc, nil, "git-sync", "SIGHUP"))
		page("second")

		lock := filepath.Join(c.SharedDir(alloc.ID), "data", "site.git-sync", "git", "shallow.lock")
		must.NoError(c.t, os.WriteFile(lock, nil, 0o666))
		must.NoError(c.t, syscall.Kill(c.first(alloc, "git-sync").PID, syscall.SIGKILL))
		g.commit("third")
		page("third")
		left, err := filepath.Glob(filepath.Join(c.SharedDir(alloc.ID), "data", "site.git-sync", "*"))
		must.NoError(c.t, err)
		must.SliceLen(c.t, 3, left, must.Sprint("the repository and two commits"))
		must.StrNotContains(c.t, c.waitLog(alloc, "git-sync", "stderr", "git-sync: main is"), gitPassword)
		c.stop("git-sync", alloc)
	})
}

// TestBackup checks that snapshots are made and forgotten, that backups continue after restic was
// killed, and that the last one has what the application wrote when it ended.
//
// Trap C6: a lock that a killed restic may have left.
func TestBackup(t *testing.T) {
	debian(t, "/usr/bin/restic")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		_, _, err := c.Client().Variables().Update(&api.Variable{
			Path: "nomad/jobs/backup", Items: api.VariableItems{"password": shardPassword, "RESTIC_PROGRESS_FPS": "1"},
		}, nil)
		must.NoError(c.t, err)
		alloc := c.runAll(injectText(c.t, testdata(c.t, "backup.nomad.hcl")))
		c.waitLog(alloc, "backup", "stderr", strings.Repeat("backup: done\n", 3))
		must.Between(c.t, 2, c.snapshots(alloc), 3)
		must.NoError(c.t, syscall.Kill(c.first(alloc, "backup").PID, syscall.SIGKILL))
		c.waitTask(alloc.ID, "backup", func(s *api.TaskState) error {
			if s.Restarts == 0 || s.State != "running" {
				return fmt.Errorf("state %s after %d restarts", s.State, s.Restarts)
			}
			return nil
		})
		made := strings.Count(c.waitLog(alloc, "backup", "stderr", "backup: done\n"), "done")
		c.waitLog(alloc, "backup", "stderr", strings.Repeat("backup: done\n", made+2))
		must.Eq(c.t, "first\n", c.restic(alloc, "dump", "latest", "/alloc/data/state"))
		c.stop("backup", alloc)
		must.Eq(c.t, "last\n", c.restic(alloc, "dump", "latest", "/alloc/data/state"))
	})
}

func (c *cluster) snapshots(alloc *api.Allocation) int {
	c.t.Helper()
	return strings.Count(c.restic(alloc, "snapshots", "--json"), `"short_id"`)
}

// restic runs restic on the host for the repository of an allocation.
func (c *cluster) restic(alloc *api.Allocation, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.ctx, "/usr/bin/restic", append([]string{"--no-lock", "--no-cache", "-q"}, args...)...)
	cmd.Env = []string{
		"RESTIC_REPOSITORY=" + filepath.Join(c.SharedDir(alloc.ID), "repository"),
		"RESTIC_PASSWORD=" + shardPassword, "HOME=/",
	}
	out, err := cmd.Output()
	must.NoError(c.t, err, must.Sprint(string(out)))
	return string(out)
}
