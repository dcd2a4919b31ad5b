package main

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestFirstConfigurationIsForAnApplicationThatDoesNotRun(t *testing.T) {
	s := serve(t, "one\n")
	p := newPod(t, "-source", s.url, "-mode", "0640")
	r := p.open()
	// On a machine that is no pod there are processes of unknown tasks.
	must.ErrorContains(t, r.cycle(t.Context()), "the task of process")
	must.Eq(t, "one\n", p.config())
	info, err := os.Stat(r.path())
	must.NoError(t, err)
	must.Eq(t, 0o640, info.Mode())
	must.Eq(t, []string{"app.conf"}, p.files())
}

func TestChangeReloadsOnce(t *testing.T) {
	s := serve(t, "one\n")
	p := newPod(t, "-source", s.url)
	a, r := p.startApp(), p.open()
	must.NoError(t, r.cycle(t.Context()))
	eventually(t, func() bool { return a.reloads() == 1 })
	must.NoError(t, r.cycle(t.Context()))
	s.set(http.StatusOK, "two\n")
	must.NoError(t, r.cycle(t.Context()))
	must.Eq(t, "two\n", p.config())
	eventually(t, func() bool { return a.reloads() == 2 })

	// A reloader that is started again has nothing to tell.
	must.NoError(t, p.open().cycle(t.Context()))
	must.Eq(t, []int{a.cmd.Process.Pid}, r.status.PIDs)
	must.Eq(t, 2, strings.Count(p.log.String(), "msg=signalled"))
	must.Eq(t, 1, s.unread, must.Sprint("the second look was answered with 304"))
}

// Killed between the new configuration and the signal, the reloader makes up
// for it when it is started again.
func TestSignalIsMadeUpFor(t *testing.T) {
	s := serve(t, "one\n")
	p := newPod(t, "-source", s.url)
	a, r := p.startApp(), p.open()
	must.NoError(t, r.cycle(t.Context()))
	eventually(t, func() bool { return a.reloads() == 1 }) // two signals at once are one
	s.set(http.StatusOK, "two\n")
	text, err := r.produce(t.Context())
	must.NoError(t, err)
	must.NoError(t, r.replace(t.Context(), text))

	s.set(http.StatusInternalServerError, "")
	must.ErrorContains(t, p.open().cycle(t.Context()), "500")
	eventually(t, func() bool { return a.reloads() == 2 })
}

func TestBadConfigurationIsNotTaken(t *testing.T) {
	s := serve(t, "good 1\n")
	p := newPod(t, "-source", s.url, "-check", "/bin/grep", "-check", "good", "-check", "{}")
	p.startApp()
	r := p.open()
	must.NoError(t, r.cycle(t.Context()))
	for name, bad := range map[string]struct {
		code int
		text string
		want string
	}{
		"an error":   {http.StatusNotFound, "good 2\n", "404 Not Found"},
		"empty":      {http.StatusOK, " \n", "source: the configuration is empty"},
		"the check":  {http.StatusOK, "bad\n", "the check refuses the configuration: /bin/grep good " + p.path("alloc", "config", ".app.conf.candidate") + ": exit status 1"},
		"not a page": {http.StatusNoContent, "", "204"},
	} {
		t.Run(name, func(t *testing.T) {
			s.set(bad.code, bad.text)
			must.ErrorContains(t, r.cycle(t.Context()), bad.want)
			must.Eq(t, "good 1\n", p.config())
			must.Eq(t, []string{"app.conf"}, p.files())
		})
	}
	s.set(http.StatusOK, "good 3\n")
	must.NoError(t, r.cycle(t.Context()))
	must.Eq(t, "good 3\n", p.config())
	must.Eq(t, 2, strings.Count(p.log.String(), "msg=signalled"))
}

func TestCheckThatCannotRun(t *testing.T) {
	p := newPod(t, "-source", serve(t, "x").url, "-check", "/nonexistent")
	must.ErrorContains(t, p.open().cycle(t.Context()), "the check refuses the configuration: /nonexistent: fork/exec /nonexistent: no such file")
}

func TestTemplateWithValues(t *testing.T) {
	values := serve(t, `{"port": 8080}`)
	p := newPod(t, "-render", "-values", values.url)
	template := p.path("local", "app.tmpl")
	must.NoError(t, os.WriteFile(template, []byte("listen {{ .Values.port }}; # {{ .Env.NOMAD_TASK_NAME }}\n"), 0o600))
	p.args = append(p.args, "-source", template)
	p.startApp()
	r := p.open()
	must.NoError(t, r.cycle(t.Context()))
	must.Eq(t, "listen 8080; # config-reloader\n", p.config())
	for text, want := range map[string]string{`{"prt": 1}`: `no entry for key "port"`, "oops": "the values are not JSON"} {
		values.set(http.StatusOK, text)
		must.ErrorContains(t, r.cycle(t.Context()), want)
	}
	values.set(http.StatusBadGateway, "")
	must.ErrorContains(t, r.cycle(t.Context()), "values: get")
	must.Eq(t, "listen 8080; # config-reloader\n", p.config())
	values.set(http.StatusOK, `{"port": 9090}`)
	must.NoError(t, r.cycle(t.Context()))
	must.Eq(t, "listen 9090; # config-reloader\n", p.config())
}

func TestWhatIsRemovedComesBackWithoutASignal(t *testing.T) {
	p := newPod(t, "-source", serve(t, "one\n").url)
	p.startApp()
	r := p.open()
	must.NoError(t, r.cycle(t.Context()))
	must.NoError(t, os.Remove(r.path()))
	must.NoError(t, r.cycle(t.Context()))
	must.Eq(t, "one\n", p.config())
	must.Eq(t, 1, strings.Count(p.log.String(), "msg=signalled"))
}

func TestDestinationStaysInTheAllocation(t *testing.T) {
	p := newPod(t, "-source", serve(t, "one\n").url)
	outside := t.TempDir()
	must.NoError(t, os.Symlink(outside, p.path("alloc", "config")))
	must.Error(t, p.open().cycle(t.Context()))
	left, err := os.ReadDir(outside)
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

// The whole program: it looks at once when told to, shows how it is, and
// names an error once.
func TestRun(t *testing.T) {
	s := serve(t, "one\n")
	p := newPod(t, "-source", s.url, "-interval", "1h")
	a := p.startApp()
	ctx, cancel := context.WithCancel(t.Context())
	now, done := make(chan os.Signal), make(chan error, 1)
	go func() { done <- run(ctx, p.args, p.env(), now, &p.log) }()
	now <- os.Interrupt // any one; it is taken when the first look is over
	must.Eq(t, "one\n", p.config())
	first := p.status()
	must.Eq(t, digest([]byte("one\n")), first.Digest)
	must.Eq(t, s.url, first.Source)
	must.Eq(t, []int{a.cmd.Process.Pid}, first.PIDs)

	s.set(http.StatusServiceUnavailable, "")
	for range 3 {
		now <- os.Interrupt
	}
	must.StrContains(t, p.status().Error, "503")
	must.Eq(t, first.Digest, p.status().Digest)
	must.Eq(t, 1, strings.Count(p.log.String(), "not up to date"))
	s.set(http.StatusOK, "two\n")
	for range 2 {
		now <- os.Interrupt
	}
	must.Eq(t, "", p.status().Error)
	must.Eq(t, digest([]byte("two\n")), p.status().Digest)
	must.StrContains(t, p.log.String(), "all is well again")
	cancel()
	must.NoError(t, <-done)
}
