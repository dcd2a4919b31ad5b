package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until a condition holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	programtest.Until(t, func() error {
		if !holds() {
			return errors.New("it has not happened")
		}
		return nil
	})
}

// pod is the directories of an allocation, and its environment. The first of
// them is its id, so that the processes of no other test, and of no other run
// of the tests, are its own.
type pod struct {
	t    *testing.T
	dir  string
	args []string
	log  programtest.Output
}

func newPod(t *testing.T, args ...string) *pod {
	t.Helper()
	p := &pod{t: t, dir: t.TempDir(), args: append([]string{"-task", "app", "-destination", "config/app.conf"}, args...)}
	must.NoError(t, os.Mkdir(p.path("alloc"), 0o755))
	must.NoError(t, os.Mkdir(p.path("local"), 0o755))
	return p
}

func (p *pod) path(elements ...string) string {
	return filepath.Join(append([]string{p.dir}, elements...)...)
}

func (p *pod) env() environment {
	all := map[string]string{
		"NOMAD_ALLOC_ID": p.dir, "NOMAD_TASK_NAME": "config-reloader",
		"NOMAD_ALLOC_DIR": p.path("alloc"), "NOMAD_TASK_DIR": p.path("local"),
	}
	env := environment{get: func(name string) string { return all[name] }}
	for name, value := range all {
		env.all = append(env.all, name+"="+value)
	}
	return env
}

// open opens a reloader, to be asked for one cycle after the other.
func (p *pod) open() *reloader {
	p.t.Helper()
	o, err := parseOptions(p.args, p.env().get, &p.log)
	must.NoError(p.t, err)
	r, err := open(o, p.env(), slog.New(slog.NewTextHandler(&p.log, nil)))
	must.NoError(p.t, err)
	r.sender.Patience = time.Millisecond
	p.t.Cleanup(func() { must.NoError(p.t, r.close()) })
	return r
}

// config is the configuration in place.
func (p *pod) config() string {
	p.t.Helper()
	text, err := os.ReadFile(p.path("alloc", "config", "app.conf"))
	if os.IsNotExist(err) {
		return ""
	}
	must.NoError(p.t, err)
	return string(text)
}

// files are the names in the directory of the configuration.
func (p *pod) files() (names []string) {
	p.t.Helper()
	entries, err := os.ReadDir(p.path("alloc", "config"))
	must.NoError(p.t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (p *pod) status() (s status) {
	p.t.Helper()
	text, err := os.ReadFile(p.path("alloc", "config-reloader", "status.json"))
	must.NoError(p.t, err)
	must.NoError(p.t, json.Unmarshal(text, &s))
	return s
}

// app is an application that counts, in a file, how often it was told to read
// its configuration again.
type app struct {
	p   *pod
	cmd *exec.Cmd
}

func (p *pod) startApp() *app {
	p.t.Helper()
	programtest.DefaultSignal(p.t, unix.SIGHUP)
	cmd := exec.Command("/bin/sh", "-c", `trap 'echo >>"$0"' HUP; echo >"$0.ready"; while :; do sleep 0.01; done`, p.path("reloads"))
	cmd.Env = []string{"NOMAD_TASK_NAME=app", "NOMAD_ALLOC_ID=" + p.dir, "PATH=" + os.Getenv("PATH")}
	must.NoError(p.t, cmd.Start())
	a := &app{p, cmd}
	p.t.Cleanup(a.stop)
	eventually(p.t, func() bool {
		_, err := os.Stat(p.path("reloads.ready"))
		return err == nil
	})
	return a
}

func (a *app) stop() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *app) reloads() int {
	text, err := os.ReadFile(a.p.path("reloads"))
	if err != nil {
		return 0
	}
	return bytes.Count(text, []byte("\n"))
}

// site serves what the test sets.
type site struct {
	mu     sync.Mutex
	code   int
	text   string
	url    string
	unread int // answers 304
}

func serve(t *testing.T, text string) *site {
	t.Helper()
	s := &site{code: http.StatusOK, text: text}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *site) set(code int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.text = code, text
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag := fmt.Sprintf("%q", digest([]byte(s.text)))
	if s.code == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		s.unread++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	w.WriteHeader(s.code)
	_, _ = io.WriteString(w, s.text)
}

func TestBadInputIsNamed(t *testing.T) {
	dir := t.TempDir()
	good := []string{"-task=app", "-source=/a", "-destination=c", "-alloc", dir, "-state", dir}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"an argument":            {[]string{"x"}, `unexpected argument "x"`},
		"no task":                {[]string{"-task="}, "-task is missing"},
		"no source":              {[]string{"-source="}, "-source: want an absolute path, or a URL"},
		"a relative source":      {[]string{"-source=a"}, "-source: want an absolute path, or a URL"},
		"an absolute place":      {[]string{"-destination=/etc/passwd"}, `-destination "/etc/passwd": want a path below`},
		"a place outside":        {[]string{"-destination=../x"}, `-destination "../x": want a path below`},
		"no place":               {[]string{"-destination="}, `-destination "": want a path below`},
		"a signal":               {[]string{"-signal=SIGKILL"}, `-signal "SIGKILL": use one of SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH`},
		"a mode":                 {[]string{"-mode=rw"}, `-mode "rw": write it in octal, like 0644`},
		"a special mode":         {[]string{"-mode=4755"}, "write it in octal"},
		"too often":              {[]string{"-interval=1ms"}, "-interval 1ms is too short"},
		"values and no template": {[]string{"-values=/v"}, "-values requires a template"},
		"values from nowhere":    {[]string{"-values=v", "-render"}, "-values: want an absolute path"},
		"missing headers":        {[]string{"-headers=/nonexistent"}, "-headers: open /nonexistent"},
		"no directory":           {[]string{"-alloc=/nonexistent"}, "open the allocation's directory"},
		"no state":               {[]string{"-state=/nonexistent"}, "open the task's directory"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append(good, tc.args...), environment{get: func(string) string { return "" }}, nil, io.Discard)
			must.ErrorContains(t, err, tc.want)
		})
	}
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, environment{get: func(string) string { return "" }}, nil, io.Discard), flag.ErrHelp)
	must.False(t, strings.Contains(address("http://u:secret@x/").shown(), "secret"))
}
