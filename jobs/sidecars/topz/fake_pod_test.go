package main

import (
	"fmt"
	"math"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/browser"
)

// fakePod is a made-up pod in a browser, whose clock only the test moves.
type fakePod struct {
	*browser.Tab
	t       *testing.T
	dir     string
	monitor *monitor
	now     time.Time
	step    int
	url     string
}

// fakePodBoot is when its machine was booted. It is ahead of any real
// clock, so that no sample is ever old.
const fakePodBoot = 4_070_908_800 // 2099

// openFakePod shows a pod of three tasks: an application with two workers, a
// proxy, and topz, and in the application a process with a hostile name.
func openFakePod(t *testing.T) *fakePod {
	t.Helper()
	dir := procstest.Dir(t)
	procstest.Write(t, filepath.Join(dir, "stat"), fmt.Sprintf("cpu  1 2 3 4 5 6 7 8 9 10\nbtime %d\n", fakePodBoot))
	s := &fakePod{Tab: browser.Open(t), t: t, dir: dir, now: time.Unix(fakePodBoot, 0).Add(5 * time.Hour)}
	s.perform(0)
	sampler := podSampler(t, dir, 0)
	sampler.pod.Job, sampler.pod.Group, sampler.pod.Hostname = "shop", "web", "web-0d5fa7c1"
	sampler.bootTime = time.Unix(fakePodBoot, 0).UTC()
	sampler.now = func() time.Time { return s.now }
	var err error
	s.monitor, err = newMonitor(sampler, 2*time.Second, quiet())
	must.NoError(t, err)
	server := httptest.NewServer(newHandler(s.monitor))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// perform writes /proc as of a step.
func (s *fakePod) perform(step int) {
	s.t.Helper()
	ticks := func(rate, swing, period float64) uint64 { // of two seconds a step, up to it
		x := float64(step) + 40
		return uint64(200 * (rate*x + swing*period/6*(1-math.Cos(x*6/period))))
	}
	pages := func(mb, growth float64) int { return int((mb + growth*float64(step)) * 256) }
	for _, p := range []procstest.Process{
		{PID: 1, Comm: "catatonit", Args: []string{"catatonit", "-P"}, Cgroup: "0::/../../pod\n", Threads: 1, RSSPages: pages(.7, 0), Start: 1000},
		{PID: 20, Comm: "gunicorn", Args: []string{"/usr/bin/python3", "/srv/shop/bin/gunicorn", "--workers", "2", "--bind", "127.0.0.1:8080", "shop.wsgi:application"}, UID: 1000, Cgroup: procstest.Scope("app"), Threads: 3, UTime: ticks(.02, .01, 9), Start: 2000, RSSPages: pages(58, 0)},
		{PID: 27, PPID: 20, Comm: "gunicorn", Args: []string{"/usr/bin/python3", "/srv/shop/bin/gunicorn", "worker-1"}, UID: 1000, Cgroup: procstest.Scope("app"), Threads: 12, UTime: ticks(.45, .35, 17), Start: 2100, RSSPages: pages(131, .5), State: "R"},
		{PID: 28, PPID: 20, Comm: "gunicorn", Args: []string{"/usr/bin/python3", "/srv/shop/bin/gunicorn", "worker-2"}, UID: 1000, Cgroup: procstest.Scope("app"), Threads: 12, UTime: ticks(.3, .28, 11), Start: 2110, RSSPages: pages(118, .1)},
		{PID: 52, PPID: 28, Comm: "sh", Args: []string{"<img src=x onerror=alert(1)>", "--thumbnail", `"quoted" & <b>bold</b>`}, UID: 1000, Cgroup: procstest.Scope("app"), Threads: 1, UTime: ticks(.05, .05, 5), Start: 900000, RSSPages: pages(3, 0)},
		{PID: 53, PPID: 27, Comm: "convert", UID: 1000, Cgroup: procstest.Scope("app"), Threads: 1, Start: 910000, State: "Z"},
		{PID: 33, Comm: "nginx", Args: []string{"nginx: master process nginx -e stderr -p /local/ -c nginx.conf"}, Cgroup: procstest.Scope("tls-proxy"), Threads: 1, UTime: 12, Start: 1500, RSSPages: pages(6, 0)},
		{PID: 35, PPID: 33, Comm: "nginx", Args: []string{"nginx: worker process"}, UID: 65534, Cgroup: procstest.Scope("tls-proxy"), Threads: 1, UTime: ticks(.08, .06, 13), Start: 1510, RSSPages: pages(9, .02)},
		{PID: 40, Comm: "topz", Args: []string{"/opt/nomad-sidecar/bin/topz", "-listen", ":8099"}, Cgroup: procstest.Scope("topz"), Threads: 7, UTime: ticks(.004, .002, 7), Start: 1600, RSSPages: pages(11, 0)},
	} {
		p.WriteTo(s.t, s.dir)
	}
}

// play goes on by one step and waits until the page shows it.
func (s *fakePod) play() {
	s.t.Helper()
	s.step++
	s.perform(s.step)
	s.now = s.now.Add(2 * time.Second)
	next, err := s.monitor.sampler.sample()
	must.NoError(s.t, err)
	s.monitor.mu.Lock()
	s.monitor.latest = next
	s.monitor.mu.Unlock()
	s.Do(`document.dispatchEvent(new Event("visibilitychange"))`) // as if it had been looked at again
	s.Sees(fmt.Sprintf(`document.getElementById("processes").dataset.sampled === "%d"`, next.SampledAt.UnixMilli()))
}
