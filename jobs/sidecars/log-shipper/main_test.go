package main

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
)

// asProgram has the test binary be the program, so that it can be killed.
const asProgram = "LOG_SHIPPER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

const allocID = "0d5fa7c1-26a1-4d3c-9a55-1f4a4b7a9c01"

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

func none(string) string { return "" } // of the environment

// pod is an allocation's directories.
type pod struct {
	t    *testing.T
	dir  string
	args []string
}

func newPod(t *testing.T, args ...string) *pod {
	t.Helper()
	p := &pod{t: t, dir: t.TempDir(), args: args}
	must.NoError(t, os.MkdirAll(p.path("alloc", "logs"), 0o755))
	must.NoError(t, os.Mkdir(p.path("local"), 0o755))
	return p
}

func (p *pod) path(elements ...string) string {
	return filepath.Join(append([]string{p.dir}, elements...)...)
}

func (p *pod) env() []string {
	return []string{
		"NOMAD_ALLOC_ID=" + allocID, "NOMAD_TASK_NAME=log-shipper", "NOMAD_JOB_NAME=web", "NOMAD_GROUP_NAME=front",
		"NOMAD_NAMESPACE=default", "NOMAD_ALLOC_DIR=" + p.path("alloc"), "NOMAD_TASK_DIR=" + p.path("local"), asProgram + "=1",
	}
}

// write appends to a log file of the pod.
func (p *pod) write(name, text string) {
	p.t.Helper()
	f, err := os.OpenFile(p.path("alloc", "logs", name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must.NoError(p.t, err)
	_, err = f.WriteString(text)
	must.NoError(p.t, err)
	must.NoError(p.t, f.Close())
}

// open opens a shipper in the test itself.
func (p *pod) open(log io.Writer) *shipper {
	p.t.Helper()
	o, err := parseOptions(append(p.args, "-logs", p.path("alloc", "logs"), "-state", p.path("local")), none, log)
	must.NoError(p.t, err)
	s, err := openShipper(o, none, slog.New(slog.NewTextHandler(log, nil)))
	must.NoError(p.t, err)
	return s
}

// running is a shipper that runs.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	log *programtest.Output
}

func (p *pod) start() *running {
	p.t.Helper()
	log := &programtest.Output{}
	cmd := exec.Command(os.Args[0], p.args...)
	cmd.Env, cmd.Stderr, cmd.Stdout = p.env(), log, log
	must.NoError(p.t, cmd.Start())
	s := &running{p.t, cmd, log}
	p.t.Cleanup(s.kill) // of one that a failed test has left
	// Before, the signal to stop would find nobody who listens.
	log.Wait(p.t, "msg=shipping")
	return s
}

func (s *running) kill() {
	_ = s.cmd.Process.Kill() // it may have been killed before
	_ = s.cmd.Wait()
}

// stop tells the shipper to stop, as Nomad does, and wants it to end well.
func (s *running) stop() {
	s.t.Helper()
	must.NoError(s.t, s.cmd.Process.Signal(os.Interrupt))
	must.NoError(s.t, s.cmd.Wait(), must.Sprint(s.log))
}

func TestBadInputIsNamed(t *testing.T) {
	dir := t.TempDir()
	headers := filepath.Join(dir, "headers")
	must.NoError(t, os.WriteFile(headers, []byte("Authorization: Bearer x\nsecret\n"), 0o600))
	dirs := []string{"-logs", dir, "-state", dir}
	const file = "-sink=file:///tmp/x"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"an argument":         {[]string{file, "x"}, `unexpected argument "x"`},
		"no sink":             {nil, `-sink "": use http, https, syslog+tcp, syslog+udp or file`},
		"another scheme":      {[]string{"-sink=ftp://x"}, `-sink "ftp://x": use http`},
		"no URL":              {[]string{"-sink=http://a:b c@x"}, "-sink is not a URL"},
		"no host":             {[]string{"-sink=http:///x"}, "names no host"},
		"no port":             {[]string{"-sink=syslog+tcp://x"}, "is not a syslog server: write it like syslog+tcp://127.0.0.1:601"},
		"a path for syslog":   {[]string{"-sink=syslog+udp://x:1/y"}, "is not a syslog server"},
		"two slashes":         {[]string{"-sink=file://tmp/x"}, "write it with three slashes"},
		"a directory":         {[]string{"-sink=file:///tmp/"}, "is not a file"},
		"a format":            {[]string{file, "-format=xml"}, `-format "xml": use json or text`},
		"a stream":            {[]string{file, "-stream=stdin"}, `-stream "stdin": use stdout or stderr`},
		"a facility":          {[]string{"-sink=syslog+tcp://x:1", "-facility=x"}, `-facility: "x" is not a facility`},
		"no room for a line":  {[]string{file, "-max-line=0"}, "-max-line 0: use 1 to 1048576"},
		"too large to be UDP": {[]string{"-sink=syslog+udp://x:1", "-max-line=65000"}, "does not fit into a datagram: use at most 61411"},
		"an empty batch":      {[]string{file, "-batch-lines=0"}, "must be 1 or more"},
		"missing headers":     {[]string{file, "-headers=/nonexistent"}, "-headers: open /nonexistent"},
		"broken headers":      {[]string{file, "-headers=" + headers}, "-headers: " + headers + ": want only lines such as"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append(dirs, tc.args...), none, io.Discard)
			must.ErrorContains(t, err, tc.want)
			must.StrNotContains(t, err.Error(), "secret")
		})
	}
	must.ErrorContains(t, run(t.Context(), []string{file}, none, io.Discard), "-logs is missing")
	must.ErrorContains(t, run(t.Context(), []string{file, "-logs", dir}, none, io.Discard), "-state is missing")
	must.ErrorContains(t, run(t.Context(), []string{"-sink=http://x", "-state", dir, "-logs=/nonexistent"}, none, io.Discard), "open the directory of logs")
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, none, io.Discard), flag.ErrHelp)
}
