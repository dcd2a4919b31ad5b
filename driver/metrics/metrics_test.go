package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metrics.prom")
	must.NoError(t, m.WriteFile(path))
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	return string(text)
}

func newMetrics() *Metrics {
	return New("1.2.3", func() State {
		return State{
			Pods: 2, Tasks: 5, Images: &Images{Bytes: 10, DiskBytes: 40, DiskFreeBytes: 20},
			Logs: Logs{Bytes: 1000, Stalls: 3, DroppedBytes: 20, IndexDropped: 4},
		}
	})
}

func TestMetrics_Values(t *testing.T) {
	m := newMetrics()
	m.Start(ResultOK)
	m.Start(ResultFailed)
	m.Phase("pull", 2*time.Second)
	m.Recovery(ResultOK)
	m.Exit(ExitOOM)
	m.Count(LivenessFailures, 3)
	m.Removed("disk")
	m.Pull("registry.example", 1000, time.Second, nil)
	m.Pull("", 0, 0, errors.New("no such file"))
	text := scrape(t, m)
	for _, line := range []string{
		`nomad_driver_pod_task_starts_total{result="ok"} 1`, `nomad_driver_pod_task_starts_total{result="failed"} 1`,
		`nomad_driver_pod_task_starts_total{result="invalid"} 0`, `nomad_driver_pod_task_start_phase_seconds_sum{phase="pull"} 2`,
		`nomad_driver_pod_task_recoveries_total{result="ok"} 1`, `nomad_driver_pod_task_exits_total{kind="oom"} 1`,
		`nomad_driver_pod_liveness_failures_total 3`, `nomad_driver_pod_restart_with_stops_total 0`,
		`nomad_driver_pod_image_pulls_total{registry="registry.example",result="ok"} 1`,
		`nomad_driver_pod_image_pulls_total{registry="path",result="failed"} 1`,
		`nomad_driver_pod_image_pull_bytes_total 1000`, `nomad_driver_pod_image_pull_seconds_count 1`,
		`nomad_driver_pod_images_removed_total{reason="disk"} 1`, `nomad_driver_pod_images_removed_total{reason="unused"} 0`,
		`nomad_driver_pod_image_store_bytes 10`, `nomad_driver_pod_image_store_disk_bytes 40`, `nomad_driver_pod_image_store_disk_free_bytes 20`,
		`nomad_driver_pod_pods 2`, `nomad_driver_pod_tasks 5`, `nomad_driver_pod_info{version="1.2.3"} 1`,
		`nomad_driver_pod_log_bytes_total 1000`, `nomad_driver_pod_log_stalls_total 3`,
		`nomad_driver_pod_log_dropped_bytes_total 20`, `nomad_driver_pod_log_index_dropped_total 4`,
	} {
		must.StrContains(t, text, line+"\n")
	}
}

// TestDocs checks that the dashboard and the alert rules use metrics that exist.
func TestDocs(t *testing.T) {
	m := newMetrics()
	m.Phase("pull", time.Second)
	m.Pull("registry.example", 1, time.Second, nil)
	text := scrape(t, m)
	name := regexp.MustCompile(`nomad_driver_pod_[a-z_]+`)
	used := map[string]bool{}
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		doc, err := os.ReadFile(filepath.Join("../../docs/metrics", file))
		must.NoError(t, err)
		for _, n := range name.FindAllString(string(doc), -1) {
			used[n] = true
			must.StrContains(t, text, "\n"+n, must.Sprint(file))
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if n, ok := strings.CutPrefix(line, "# TYPE "); ok {
			n, kind, _ := strings.Cut(n, " ")
			must.True(t, used[n] || kind == "histogram" && used[n+"_bucket"], must.Sprintf("the dashboard does not show %s", n))
		}
	}
}

// TestPull_ManyRegistries checks that jobs, which choose the names of registries, cannot add metrics
// without limit.
func TestPull_ManyRegistries(t *testing.T) {
	m := newMetrics()
	for i := range 1000 {
		m.Pull(fmt.Sprintf("r%d.example", i), 1, 0, nil)
	}
	m.Pull(strings.Repeat("x", 1000), 1, 0, nil)
	m.Pull("r0.example", 1, 0, nil)
	text := scrape(t, m)
	must.Eq(t, maxRegistries+1, strings.Count(text, "nomad_driver_pod_image_pulls_total{"))
	must.StrContains(t, text, `nomad_driver_pod_image_pulls_total{registry="other",result="ok"} 981`)
	must.StrContains(t, text, `nomad_driver_pod_image_pulls_total{registry="r0.example",result="ok"} 2`)
}

func TestCheckAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"unix:/run/x.sock": true, "127.0.0.1:9630": true, "[::1]:9630": true, "127.8.9.1:1": true,
		"unix:x.sock": false, "unix:": false, "": false, ":9630": false, "0.0.0.0:9630": false, "10.0.0.1:9630": false,
		"localhost:9630": false, "127.0.0.1": false, "127.0.0.1:0": false, "[::]:9630": false,
	} {
		must.Eq(t, good, CheckAddress(address) == nil, must.Sprint(address))
	}
}

// TestServe checks that the metrics are served on a socket until the end, and nothing else is.
func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	m := newMetrics()
	l, err := Listen("unix:" + path)
	must.NoError(t, err)
	info, err := os.Stat(path)
	must.NoError(t, err)
	must.Eq(t, 0o660, info.Mode().Perm())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(ctx, l) }()

	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	get := func(path string) (int, string) {
		res, err := (&http.Client{Transport: transport}).Get("http://metrics" + path)
		must.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		must.NoError(t, err)
		must.NoError(t, res.Body.Close())
		return res.StatusCode, string(body)
	}
	status, body := get("/metrics")
	must.Eq(t, http.StatusOK, status)
	must.StrContains(t, body, "nomad_driver_pod_pods 2\n")
	status, _ = get("/debug/pprof/")
	must.Eq(t, http.StatusNotFound, status)

	_, err = Listen("unix:" + path)
	must.ErrorContains(t, err, "another process listens on "+path)
	cancel()
	must.NoError(t, <-ended)
	_, err = os.Stat(path)
	must.ErrorIs(t, err, os.ErrNotExist)
}

// TestListen_Leftover checks that the socket of a killed process is replaced, and no other file is.
func TestListen_Leftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must.NoError(t, err)
	l.SetUnlinkOnClose(false)
	must.NoError(t, l.Close())
	again, err := Listen("unix:" + path)
	must.NoError(t, err)
	must.NoError(t, again.Close())

	must.NoError(t, os.WriteFile(path, []byte("a file"), 0o600))
	_, err = Listen("unix:" + path)
	must.ErrorContains(t, err, "is not a socket")
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, "a file", string(text))
}
