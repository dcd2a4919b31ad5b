package driver_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// metrics returns the metrics that the node serves on its socket: values by name and labels.
func (n *node) metrics() map[string]string {
	n.t.Helper()
	path := strings.TrimPrefix(n.config.Metrics.Address, "unix:")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	res, err := client.Get("http://metrics/metrics")
	must.NoError(n.t, err)
	body, err := io.ReadAll(res.Body)
	must.NoError(n.t, err)
	must.NoError(n.t, res.Body.Close())
	values := map[string]string{}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			values[strings.TrimPrefix(name, "nomad_driver_pod_")] = value
		}
	}
	return values
}

// TestMetrics checks that starts, ends, pulls, liveness failures and recoveries are counted, and
// that metrics are available again after the plugin was restarted.
func TestMetrics(t *testing.T) {
	at := pushed(t, insecureRegistry(t)+"/scratch:v1")
	registry, _, _ := strings.Cut(at, "/")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) {
			dir := filepath.Dir(c.RunDir)
			c.Runtime = runtime
			c.Metrics = driver.MetricsConfig{Address: "unix:" + dir + "/metrics.sock", Textfile: dir + "/pod.prom"}
		})
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health, must.Sprint(n.fingerprint().HealthDescription))
		must.Eq(t, "0", n.metrics()["tasks"])

		running := n.newTask("", "running", sh("sleep infinity"), quiet)
		handle := running.start()
		pulls := n.newTask("", "pulls", driver.TaskConfig{Image: at}, quiet)
		pulls.start()
		must.Eq(t, 0, pulls.wait().ExitCode)
		fails := n.newTask("", "fails", sh("exit 3"), quiet)
		fails.start()
		fails.wait()
		n.startError(n.newTask("", "invalid", driver.TaskConfig{Command: "/no/such/program"}, quiet))
		n.startError(n.newTask("", "unreachable", driver.TaskConfig{Image: registry + "/none:v1"}, quiet))
		dying := sh("sleep infinity")
		dying.Live = &driver.LiveConfig{File: "/never", Interval: "1s", Timeout: "1s", Failures: 1}
		dead := n.newTask("", "dying", dying, quiet)
		dead.start()
		dead.wait()

		got := n.metrics()
		for name, want := range map[string]string{
			`task_starts_total{result="ok"}`: "4", `task_starts_total{result="invalid"}`: "2", `task_starts_total{result="failed"}`: "0",
			`task_exits_total{kind="done"}`: "1", `task_exits_total{kind="failed"}`: "1", `task_exits_total{kind="unknown"}`: "1",
			`image_pulls_total{registry="` + registry + `",result="ok"}`: "1", `image_pulls_total{registry="` + registry + `",result="failed"}`: "1",
			"liveness_failures_total": "1", `task_start_phase_seconds_count{phase="create"}`: "4",
			"tasks": "4", "pods": "4",
		} {
			must.Eq(t, want, got[name], must.Sprint(name))
		}
		text, err := os.ReadFile(n.config.Metrics.Textfile)
		must.NoError(t, err)
		must.StrContains(t, string(text), "nomad_driver_pod_info{version=")

		for _, tk := range []*task{pulls, fails, dead} {
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
		n.abandon()
		_, err = os.Stat(strings.TrimPrefix(n.config.Metrics.Address, "unix:"))
		must.ErrorIs(t, err, os.ErrNotExist, must.Sprint("the socket is closed when Close returns"))
		n.start()
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health, must.Sprint(n.fingerprint().HealthDescription))
		must.NoError(t, n.RecoverTask(handle))
		got = n.metrics()
		must.Eq(t, "1", got[`task_recoveries_total{result="ok"}`])
		must.Eq(t, "0", got[`task_exits_total{kind="failed"}`])
	})
}

// TestMetrics_Unusable checks that an address or file that cannot be used, or that others can
// replace, makes the node unhealthy and fails no task.
func TestMetrics_Unusable(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		must.NoError(t, err)
		defer taken.Close()
		open := t.TempDir()
		must.NoError(t, os.Chmod(open, 0o777))
		for name, tc := range map[string]struct {
			config driver.MetricsConfig
			want   string
		}{
			"taken":           {driver.MetricsConfig{Address: taken.Addr().String()}, "address already in use"},
			"no directory":    {driver.MetricsConfig{Textfile: "/no/such/dir/pod.prom"}, "no such file or directory"},
			"open directory":  {driver.MetricsConfig{Textfile: open + "/pod.prom"}, "users other than root can replace it"},
			"socket by all":   {driver.MetricsConfig{Address: "unix:" + open + "/x.sock"}, "users other than root can replace it"},
			"no socket there": {driver.MetricsConfig{Address: "unix:/etc/passwd"}, "/etc/passwd exists and is not a socket"},
		} {
			t.Run(name, func(t *testing.T) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Metrics = runtime, tc.config })
				fp := n.fingerprint()
				must.Eq(t, drivers.HealthStateUnhealthy, fp.Health)
				must.StrContains(t, fp.HealthDescription, tc.want)
				must.StrContains(t, fp.HealthDescription, "metrics.")
				n.checkStarts(sh("true"))
			})
		}
	})
}
