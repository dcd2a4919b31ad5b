package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/metrics/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// podDir is the /proc of a pod with one task and one interface.
func podDir(t *testing.T) string {
	t.Helper()
	dir := procstest.Dir(t,
		procstest.Process{PID: 20, Comm: "app", Cgroup: procstest.Scope("app"), Threads: 9, UTime: 325, STime: 100, Start: 2050, AnonymousKB: 1, SwapKB: 2, FDs: 3, RSSPages: 1},
		procstest.Process{PID: 30, Comm: "stray", Cgroup: "0::/\n", Threads: 1, FDs: -1},
	)
	procstest.Write(t, filepath.Join(dir, "30", "fd"), "") // not a directory: it cannot be listed
	must.NoError(t, os.Mkdir(filepath.Join(dir, "net"), 0o755))
	procstest.Write(t, filepath.Join(dir, "net", "dev"), `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
`)
	return dir
}

func podRegistry(t *testing.T, dir string, allocID bool) *prometheus.Registry {
	t.Helper()
	meter, err := usage.New(dir, procstest.AllocID)
	must.NoError(t, err)
	env := map[string]string{"NOMAD_NAMESPACE": "default", "NOMAD_JOB_NAME": "web", "NOMAD_GROUP_NAME": "front", "NOMAD_ALLOC_ID": procstest.AllocID}
	c, err := newCollector(dir, meter, podLabels(func(k string) string { return env[k] }, allocID))
	must.NoError(t, err)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	return registry
}

func TestMetricsFollowTheNamingRules(t *testing.T) {
	problems, err := testutil.GatherAndLint(podRegistry(t, podDir(t), true))
	must.NoError(t, err)
	must.SliceEmpty(t, problems)
}

func TestMetricsOfAPod(t *testing.T) {
	expected := `# HELP pod_info Labels that identify the pod; always 1.
# TYPE pod_info gauge
pod_info{group="front",job="web",namespace="default"} 1
# HELP pod_network_receive_bytes_total Bytes received.
# TYPE pod_network_receive_bytes_total counter
pod_network_receive_bytes_total{device="eth0"} 1000
# HELP pod_network_transmit_drops_total Packets dropped while sending.
# TYPE pod_network_transmit_drops_total counter
pod_network_transmit_drops_total{device="eth0"} 4
# HELP pod_task_cpu_seconds_total CPU time of the task's processes, including observed processes that have ended.
# TYPE pod_task_cpu_seconds_total counter
pod_task_cpu_seconds_total{mode="system",task="(other)"} 0
pod_task_cpu_seconds_total{mode="system",task="app"} 1
pod_task_cpu_seconds_total{mode="user",task="(other)"} 0
pod_task_cpu_seconds_total{mode="user",task="app"} 3.25
# HELP pod_task_memory_swap_bytes Swapped memory of the task's processes.
# TYPE pod_task_memory_swap_bytes gauge
pod_task_memory_swap_bytes{task="(other)"} 0
pod_task_memory_swap_bytes{task="app"} 2048
# HELP pod_task_open_fds Open file descriptors of the task's processes; omitted if a process is unreadable.
# TYPE pod_task_open_fds gauge
pod_task_open_fds{task="app"} 3
# HELP pod_task_restarts_total Observed restarts of the task.
# TYPE pod_task_restarts_total counter
pod_task_restarts_total{task="(other)"} 0
pod_task_restarts_total{task="app"} 0
# HELP pod_task_start_time_seconds When the task's first process started, since the epoch.
# TYPE pod_task_start_time_seconds gauge
pod_task_start_time_seconds{task="app"} 1.7000000205e+09
# HELP pod_task_threads Threads of the task's processes.
# TYPE pod_task_threads gauge
pod_task_threads{task="(other)"} 1
pod_task_threads{task="app"} 9
`
	var names []string
	for line := range strings.Lines(expected) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	must.NoError(t, testutil.GatherAndCompare(podRegistry(t, podDir(t), false), strings.NewReader(expected), names...))
}

func TestAScrapeIsAllOrAnError(t *testing.T) {
	dir := podDir(t)
	h := newHandler(podRegistry(t, dir, false), slog.New(slog.NewTextHandler(io.Discard, nil)))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	must.Eq(t, http.StatusOK, get("/metrics").Code)
	must.Eq(t, "ok\n", get("/healthz").Body.String())

	for file, content := range map[string]string{"20/stat": "20 (half", "net/dev": "x\ny\nz"} {
		path := filepath.Join(dir, file)
		good, err := os.ReadFile(path)
		must.NoError(t, err)
		procstest.Write(t, path, content)
		w := get("/metrics")
		must.Eq(t, http.StatusInternalServerError, w.Code, must.Sprint(file))
		must.StrNotContains(t, w.Body.String(), "# TYPE")
		must.Eq(t, http.StatusServiceUnavailable, get("/healthz").Code)
		procstest.Write(t, path, string(good))
		must.Eq(t, http.StatusOK, get("/metrics").Code, must.Sprint("it recovers"))
	}
}

// This machine's own /proc: the test is one of the processes.
func TestRealProc(t *testing.T) {
	url := programtest.Start(t, run, nil, "-listen", "127.0.0.1:0").Wait(t, `url=(http://\S+)`)[0]
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	programtest.Until(t, func() error {
		answer, err := client.Get(url)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		for _, want := range []string{`pod_task_processes{task="(other)"} `, `pod_network_receive_bytes_total{device="lo"} `} {
			if !strings.Contains(string(body), want) {
				return fmt.Errorf("%s: no %s in\n%s", answer.Status, want, body)
			}
		}
		return nil
	})
}

func TestRunRefusesBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"an argument":           {[]string{"9102"}, `unexpected argument "9102": metrics takes only flags`},
		"an address that isn't": {[]string{"-listen", "9102"}, "listen: "},
		"no proc":               {[]string{"-proc", "/nonexistent"}, "open the proc file system"},
	} {
		t.Run(name, func(t *testing.T) {
			must.ErrorContains(t, run(t.Context(), tc.args, func(string) string { return "" }, io.Discard), tc.want)
		})
	}
}
