package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func pids(t *testing.T, h http.Handler, path string) []int {
	t.Helper()
	w := get(t, h, path)
	must.Eq(t, http.StatusOK, w.Code, must.Sprint(w.Body.String()))
	var body listing
	must.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	out := []int{}
	for _, p := range body.Processes {
		out = append(out, p.PID)
	}
	return out
}

func TestJSONShape(t *testing.T) {
	w := get(t, newHandler(podMonitor(t)), "/api/processes?sort=pid")
	must.Eq(t, "application/json", w.Header().Get("Content-Type"))
	var body map[string]any
	must.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	must.Eq(t, map[string]any{
		"alloc_id": allocID, "namespace": "default", "job": "web", "group": "front", "task": "topz", "hostname": "pod-1",
	}, body["pod"].(map[string]any))
	must.Eq[any](t, "2023-11-14T22:15:00Z", body["sampled_at"])
	must.Eq[any](t, 2.0, body["interval_seconds"])
	must.Eq[any](t, "pid", body["sort"])
	must.Eq[any](t, "asc", body["order"])
	must.Eq(t, map[string]any{
		"pid": 20.0, "ppid": 0.0, "task": "app", "user": "web", "state": "S", "threads": 9.0,
		"cpu_percent": 5.0, "cpu_seconds": 4.0, "memory_bytes": float64(4000 * os.Getpagesize()),
		"started_at": "2023-11-14T22:13:40Z", "name": "webapp", "command": "/opt/bin/webapp -listen 127.0.0.1:8080",
	}, body["processes"].([]any)[1].(map[string]any))
}

func TestSortingAndFiltering(t *testing.T) {
	h := newHandler(podMonitor(t))
	cases := map[string][]int{
		"":                             {20, 21, 30, 1, 31}, // cpu, descending; ties by PID
		"?sort=pid":                    {1, 20, 21, 30, 31},
		"?sort=pid&order=desc":         {31, 30, 21, 20, 1},
		"?sort=memory":                 {20, 30, 21, 1, 31},
		"?sort=memory&order=asc":       {31, 1, 21, 30, 20},
		"?sort=started":                {21, 30, 31, 20, 1},
		"?sort=task&order=asc":         {1, 20, 21, 30, 31},
		"?sort=threads":                {20, 30, 21, 1, 31},
		"?sort=user":                   {21, 1, 30, 31, 20},
		"?sort=time":                   {20, 21, 30, 1, 31},
		"?sort=state":                  {21, 1, 20, 30, 31},
		"?sort=ppid":                   {1, 20, 30, 21, 31},
		"?sort=command":                {21, 20, 31, 1, 30},
		"?task=app":                    {20, 21},
		"?task=(pod)":                  {1},
		"?q=WEBAPP":                    {20},
		"?q=owned":                     {21},
		"?task=topz&q=kthread":         {31},
		"?q=nothing-is-called-this":    {},
		"?task=app&sort=pid&order=asc": {20, 21},
	}
	for query, want := range cases {
		t.Run(query, func(t *testing.T) {
			must.Eq(t, want, pids(t, h, "/api/processes"+query))
		})
	}
}

func TestBadQueryNamesWhatIsAllowed(t *testing.T) {
	h := newHandler(podMonitor(t))
	for query, want := range map[string]string{
		"?sort=cpus":               `sort="cpus" is not a column: use one of pid, ppid, task, user, state, threads, cpu, time, memory, started, command`,
		"?order=down":              `order="down" is not an order: use asc or desc`,
		"?view=map":                `view="map" is not a view: use tree or list`,
		"?sort=<script>x</script>": `sort="<script>x</script>" is not a column`,
	} {
		w := get(t, h, "/api/processes"+query)
		must.Eq(t, http.StatusBadRequest, w.Code)
		var body map[string]string
		must.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		must.StrContains(t, body["error"], want)

		w = get(t, h, "/"+query)
		must.Eq(t, http.StatusBadRequest, w.Code)
		must.StrContains(t, w.Body.String(), want)
		must.StrHasPrefix(t, "text/plain", w.Header().Get("Content-Type"))
	}
}

func TestPageEscapesWhatProcessesSay(t *testing.T) {
	w := get(t, newHandler(podMonitor(t)), `/?q="><script>alert(2)</script>`)
	must.StrNotContains(t, w.Body.String(), "<script>alert")

	page := get(t, newHandler(podMonitor(t)), "/").Body.String()
	must.StrContains(t, page, "&lt;script&gt;alert(&#39;owned&#39;)&lt;/script&gt;")
	must.StrNotContains(t, page, "<script>alert")
	must.StrNotContains(t, page, "\x1b")
	must.StrNotContains(t, page, "\u202e")
}

func TestPageWorksWithoutScripts(t *testing.T) {
	h := newHandler(podMonitor(t))
	page := get(t, h, "/?sort=memory&q=a&task=app").Body.String()
	must.StrContains(t, page, `<noscript><meta http-equiv="refresh" content="2"></noscript>`)
	must.StrContains(t, page, `aria-sort="descending"><a href="/?order=asc&amp;q=a&amp;sort=memory&amp;task=app"`)
	must.StrContains(t, page, `aria-sort="none"><a href="/?order=desc&amp;q=a&amp;sort=cpu&amp;task=app"`)
	must.StrContains(t, page, `<input type="hidden" name="task" value="app">`)
	must.StrContains(t, page, `href="/api/processes?order=desc&amp;q=a&amp;sort=memory&amp;task=app"`)
	must.Eq(t, 2, strings.Count(page, "<tr data-pid="))
	must.Less(t, strings.Index(page, `data-pid="21"`), strings.Index(page, `data-pid="20"`), must.Sprint("a child stands below its parent"))
	list := get(t, h, "/?sort=memory&order=asc&view=list").Body.String()
	must.Less(t, strings.Index(list, `data-pid="20"`), strings.Index(list, `data-pid="21"`), must.Sprint("ordered by the server"))
	must.StrContains(t, list, `<input type="hidden" name="view" value="list">`)

	must.StrContains(t, get(t, h, "/?q=no-such-thing").Body.String(), "No process matches.")
}

// The README and the page's help name the same keys.
func TestKeysAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	must.NoError(t, err)
	help := regexp.MustCompile(`<kbd>(.+?)</kbd>`).FindAllStringSubmatch(pageTemplate, -1)
	must.SliceNotEmpty(t, help)
	for _, key := range help {
		must.StrContains(t, string(readme), "`"+key[1]+"`")
	}
}

func TestNothingComesFromElsewhere(t *testing.T) {
	h := newHandler(podMonitor(t))
	w := get(t, h, "/")
	must.StrContains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	must.Eq(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	for _, path := range []string{"/assets/topz.css", "/assets/theme.js", "/assets/topz.js", "/assets/icon.svg"} {
		must.StrContains(t, w.Body.String(), `"`+path+`"`)
	}
	for _, name := range assetNames() {
		path := "/" + name
		contentType := map[string]string{".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}[filepath.Ext(name)]
		asset := get(t, h, path)
		must.Eq(t, http.StatusOK, asset.Code)
		must.StrHasPrefix(t, contentType, asset.Header().Get("Content-Type"))
		must.StrNotContains(t, strings.ReplaceAll(asset.Body.String(), "http://www.w3.org/2000/svg", ""), "http")
	}
	must.StrNotContains(t, w.Body.String(), "://")
	must.StrNotContains(t, w.Body.String(), "style=", must.Sprint("the policy forbids inline styles"))
	for _, path := range []string{"/assets/", "/assets/page.html", "/nothing", "/api/"} {
		must.Eq(t, http.StatusNotFound, get(t, h, path).Code, must.Sprint(path))
	}
}

func TestOnlyReading(t *testing.T) {
	h := newHandler(podMonitor(t))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/api/processes", nil))
		must.Eq(t, http.StatusMethodNotAllowed, w.Code)
	}
}

func TestHealth(t *testing.T) {
	m := podMonitor(t)
	h := newHandler(m)
	must.Eq(t, http.StatusServiceUnavailable, get(t, h, "/healthz").Code, must.Sprint("the fixture was sampled long ago"))
	m.latest.SampledAt = time.Now()
	w := get(t, h, "/healthz")
	must.Eq(t, http.StatusOK, w.Code)
	must.Eq(t, "ok\n", w.Body.String())
}

func TestMonitorKeepsTheLastGoodSample(t *testing.T) {
	dir := procstest.Dir(t, podProcs()...)
	log := &programtest.Output{}
	m, err := newMonitor(podSampler(t, dir, 100*time.Second), time.Millisecond, slog.New(slog.NewTextHandler(log, nil)))
	must.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.run(t.Context())
	}()
	t.Cleanup(func() { <-done })

	broken := filepath.Join(dir, "50", "stat")
	must.NoError(t, os.Mkdir(filepath.Dir(broken), 0o755))
	procstest.Write(t, broken, "50 (half")
	eventually(t, func() bool { return strings.Contains(log.String(), "read process 50") })
	must.SliceLen(t, 5, m.snapshot().Processes)

	must.NoError(t, os.Remove(broken))
	procstest.Process{PID: 60, Comm: "late"}.WriteTo(t, dir)
	eventually(t, func() bool {
		return slices.ContainsFunc(m.snapshot().Processes, func(p Process) bool { return p.PID == 60 })
	})
}

func TestHumanUnits(t *testing.T) {
	must.Eq(t, "512 B", humanBytes(512))
	must.Eq(t, "640 KiB", humanBytes(640<<10))
	must.Eq(t, "9.5 MiB", humanBytes(19<<19))
	must.Eq(t, "346 MiB", humanBytes(346<<20))
	must.Eq(t, "1.50 GiB", humanBytes(3<<29))
	must.Eq(t, "0s", humanAge(-time.Second))
	must.Eq(t, "1m 05s", humanAge(65*time.Second))
	must.Eq(t, "2h 03m", humanAge(2*time.Hour+3*time.Minute))
	must.Eq(t, "9d 01h", humanAge(217*time.Hour))
	must.Eq(t, "3.25s", humanCPUTime(3.25))
	must.Eq(t, "2m 05s", humanCPUTime(125))
}
