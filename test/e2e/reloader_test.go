package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// nginx is a configuration for a user who may write to /local only, with a port and a response.
const nginx = `
daemon off;
error_log stderr;
pid /local/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path /local/body;
  proxy_temp_path /local/proxy;
  fastcgi_temp_path /local/fastcgi;
  uwsgi_temp_path /local/uwsgi;
  scgi_temp_path /local/scgi;
  server {
    listen 127.0.0.1:%d;
    return 200 "%s";
  }
}
`

// configs serves what a test sets: a status and a text.
type configs struct {
	mu    sync.Mutex
	code  int
	text  string
	asked int
}

func (c *configs) set(code int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code, c.text = code, text
}

func (c *configs) askedTwice() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked < 2 {
		return fmt.Errorf("it was asked %d times", c.asked)
	}
	return nil
}

func (c *configs) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	w.WriteHeader(c.code)
	_, _ = io.WriteString(w, c.text)
}

// TestConfigReloader checks that nginx starts once its configuration exists, reloads a new one without
// a restart, and keeps the last valid one.
func TestConfigReloader(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		for name, as := range map[string]users{
			"of one user": {app: "nobody", reloader: "nobody", check: true},
			"of root":     {app: "root", reloader: "root", check: true},
			// Without a check root has no right but to signal.
			"by root": {app: "nobody", reloader: "root"},
		} {
			c.t.Run(name, func(t *testing.T) {
				reloads(&cluster{c.Agent, t, c.ctx}, as)
			})
		}
		c.t.Run("by somebody else", func(t *testing.T) {
			saysWhoItMustBe(&cluster{c.Agent, t, c.ctx})
		})
	})
}

// users are those of the tasks, and whether nginx checks a configuration.
type users struct {
	app, reloader string
	check         bool
}

// reloaded is a job of an nginx that is kept up to date.
type reloaded struct {
	*cluster
	site  *configs
	port  int
	alloc *api.Allocation
}

// startReloaded starts the job while there is no configuration yet.
func startReloaded(c *cluster, as users) reloaded {
	c.t.Helper()
	r := reloaded{cluster: c, site: &configs{code: http.StatusServiceUnavailable}, port: freePort(c.t)}
	server := httptest.NewServer(r.site)
	c.t.Cleanup(server.Close)
	job := filepath.Join(c.t.TempDir(), "reloaded.nomad.hcl")
	check := "[]"
	if as.check {
		check = `["/usr/sbin/nginx", "-e", "stderr", "-t", "-c", "{}"]`
	}
	text := testdata(c.t, "reloaded.nomad.hcl",
		"NAME", as.app+"-by-"+as.reloader, "SOURCE", server.URL, "APP", as.app, "RELOADER", as.reloader, "CHECK", check)
	must.NoError(c.t, os.WriteFile(job, []byte(text), 0o644))
	var err error
	r.alloc, err = c.RunJob(c.ctx, inject(c.t, job))
	must.NoError(c.t, err)
	return r
}

// freePort is one that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// offers sets the site's configuration, and makes the reloader check it.
func (r reloaded) offers(code int, text string) {
	r.t.Helper()
	r.site.set(code, text)
	must.NoError(r.t, r.Client().Allocations().Signal(r.alloc, nil, "config-reloader", "SIGHUP"))
}

func (r reloaded) config(answer string) string { return fmt.Sprintf(nginx, r.port, answer) }

// answers waits for a response of nginx.
func (r reloaded) answers(want string) {
	r.t.Helper()
	r.eventually("nginx answers with "+want, func() error {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		got, err := get(r.ctx, client, fmt.Sprintf("http://127.0.0.1:%d/", r.port))
		if err == nil && got != want {
			err = fmt.Errorf("it is %q", got)
		}
		return err
	})
}

// hasError waits until the last check has failed with an error.
func (r reloaded) hasError(want string) {
	r.t.Helper()
	r.eventually("the status tells of "+want, func() error {
		var status struct{ Error string }
		text := r.exec(r.alloc, "config-reloader", "cat", "/alloc/config-reloader/status.json")
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return err
		}
		if !strings.Contains(status.Error, want) || want == "" && status.Error != "" {
			return fmt.Errorf("it is %q", status.Error)
		}
		return nil
	})
}

func reloads(c *cluster, as users) {
	r := startReloaded(c, as)
	c.eventually("the reloader has asked more than once", r.site.askedTwice)
	c.waitTask(r.alloc.ID, "app", func(s *api.TaskState) error {
		must.Eq(c.t, "pending", s.State, must.Sprint("it has no configuration yet"))
		return nil
	})

	r.site.set(http.StatusOK, r.config("one"))
	c.waitAlloc(r.alloc.ID, api.AllocClientStatusRunning)
	r.answers("one")
	r.hasError("")
	first := c.identities(r.alloc, "app")
	r.offers(http.StatusOK, r.config("two"))
	r.answers("two")

	r.offers(http.StatusInternalServerError, "")
	r.hasError("500 Internal Server Error")
	if as.check {
		r.offers(http.StatusOK, r.config("three")+"oops;\n")
		r.hasError(`unknown directive "oops"`)
	}
	r.offers(http.StatusOK, "")
	r.hasError("the configuration is empty")
	r.answers("two")

	r.offers(http.StatusOK, r.config("four"))
	r.answers("four")
	r.hasError("")
	must.Eq(c.t, first, c.identities(r.alloc, "app"), must.Sprint("it is the same process"))
}

// saysWhoItMustBe checks the error of a reloader that has no permission to signal the application.
func saysWhoItMustBe(c *cluster) {
	r := startReloaded(c, users{app: "root", reloader: "nobody"})
	r.site.set(http.StatusOK, r.config("one"))
	r.answers("one")
	r.offers(http.StatusOK, r.config("two"))
	r.hasError("of user 0: run this sidecar as that user, or as root")
	r.answers("one")
}
