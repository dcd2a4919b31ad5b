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

// configServer serves the status and text that a test sets.
type configServer struct {
	mu    sync.Mutex
	code  int
	text  string
	polls int
}

func (c *configServer) set(code int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code, c.text = code, text
}

func (c *configServer) polledTwice() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.polls < 2 {
		return fmt.Errorf("polled %d times", c.polls)
	}
	return nil
}

func (c *configServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.polls++
	w.WriteHeader(c.code)
	_, _ = io.WriteString(w, c.text)
}

// TestConfigReloader checks that nginx starts once its configuration exists, reloads a new one
// without a restart, and keeps the last valid one.
func TestConfigReloader(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		for name, as := range map[string]users{
			"of one user": {app: "nobody", reloader: "nobody", check: true},
			"of root":     {app: "root", reloader: "root", check: true},
			// Root has only the capability to send signals, so it cannot check the configuration.
			"by root": {app: "nobody", reloader: "root"},
		} {
			c.t.Run(name, func(t *testing.T) {
				testReload(&cluster{c.Agent, t, c.ctx}, as)
			})
		}
		c.t.Run("by another user", func(t *testing.T) {
			testMissingPermission(&cluster{c.Agent, t, c.ctx})
		})
	})
}

// users are the users of the tasks. If check is set, nginx checks each configuration.
type users struct {
	app, reloader string
	check         bool
}

// reloadedJob is a job with nginx, whose configuration a sidecar reloads.
type reloadedJob struct {
	*cluster
	site  *configServer
	port  int
	alloc *api.Allocation
}

// startReloadedJob starts the job before a configuration exists.
func startReloadedJob(c *cluster, as users) reloadedJob {
	c.t.Helper()
	r := reloadedJob{cluster: c, site: &configServer{code: http.StatusServiceUnavailable}, port: freePort(c.t)}
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

// freePort returns a port without a listener.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// setConfig sets the site's configuration and makes the reloader poll it.
func (r reloadedJob) setConfig(code int, text string) {
	r.t.Helper()
	r.site.set(code, text)
	must.NoError(r.t, r.Client().Allocations().Signal(r.alloc, nil, "config-reloader", "SIGHUP"))
}

func (r reloadedJob) config(answer string) string { return fmt.Sprintf(nginx, r.port, answer) }

// expectResponse waits for a response of nginx.
func (r reloadedJob) expectResponse(want string) {
	r.t.Helper()
	r.eventually("nginx answers with "+want, func() error {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		got, err := get(r.ctx, client, fmt.Sprintf("http://127.0.0.1:%d/", r.port))
		if err == nil && got != want {
			err = fmt.Errorf("response is %q", got)
		}
		return err
	})
}

// expectError waits until the last poll has an error that contains want.
func (r reloadedJob) expectError(want string) {
	r.t.Helper()
	r.eventually("the status reports "+want, func() error {
		var status struct{ Error string }
		text := r.exec(r.alloc, "config-reloader", "cat", "/alloc/config-reloader/status.json")
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return err
		}
		if !strings.Contains(status.Error, want) || want == "" && status.Error != "" {
			return fmt.Errorf("response is %q", status.Error)
		}
		return nil
	})
}

func testReload(c *cluster, as users) {
	r := startReloadedJob(c, as)
	c.eventually("the reloader to poll twice", r.site.polledTwice)
	c.waitTask(r.alloc.ID, "app", func(s *api.TaskState) error {
		must.Eq(c.t, "pending", s.State, must.Sprint("app without a configuration"))
		return nil
	})

	r.site.set(http.StatusOK, r.config("one"))
	c.waitAlloc(r.alloc.ID, api.AllocClientStatusRunning)
	r.expectResponse("one")
	r.expectError("")
	first := c.identities(r.alloc, "app")
	r.setConfig(http.StatusOK, r.config("two"))
	r.expectResponse("two")

	r.setConfig(http.StatusInternalServerError, "")
	r.expectError("500 Internal Server Error")
	if as.check {
		r.setConfig(http.StatusOK, r.config("three")+"oops;\n")
		r.expectError(`unknown directive "oops"`)
	}
	r.setConfig(http.StatusOK, "")
	r.expectError("the configuration is empty")
	r.expectResponse("two")

	r.setConfig(http.StatusOK, r.config("four"))
	r.expectResponse("four")
	r.expectError("")
	must.Eq(c.t, first, c.identities(r.alloc, "app"), must.Sprint("first process of nginx"))
}

// testMissingPermission checks the error of a reloader that may not signal the application.
func testMissingPermission(c *cluster) {
	r := startReloadedJob(c, users{app: "root", reloader: "nobody"})
	r.site.set(http.StatusOK, r.config("one"))
	r.expectResponse("one")
	r.setConfig(http.StatusOK, r.config("two"))
	r.expectError("of user 0: run this sidecar as that user, or as root")
	r.expectResponse("one")
}
