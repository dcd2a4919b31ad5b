package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs/procstest"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/program/programtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	programtest.Until(t, func() error {
		if !holds() {
			return errors.New("it has not happened")
		}
		return nil
	})
}

// start runs topz on a free loopback port and returns its address.
func start(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-interval", "100ms"}, args...)
	return programtest.Start(t, run, env, args...).Wait(t, `url=(http://\S+)/`)[0]
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	must.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must.NoError(t, err)
	must.Eq(t, http.StatusOK, answer.StatusCode, must.Sprint(string(body)))
	return body
}

// TestRealProc looks at this machine: the test itself and a child of it.
func TestRealProc(t *testing.T) {
	child := exec.Command("sleep", "300")
	child.Env = procstest.Environ(allocID, "app")
	began := time.Now()
	must.NoError(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	url := start(t, map[string]string{"NOMAD_ALLOC_ID": allocID})

	var found, self Process
	eventually(t, func() bool {
		var body listing
		must.NoError(t, json.Unmarshal(fetch(t, url+"/api/processes"), &body))
		at := func(pid int) Process {
			i := slices.IndexFunc(body.Processes, func(p Process) bool { return p.PID == pid })
			must.NonNegative(t, i)
			return body.Processes[i]
		}
		found, self = at(child.Process.Pid), at(os.Getpid())
		return found.Name == "sleep" && self.CPUSeconds > 0
	})
	must.Eq(t, "sleep 300", found.Command)
	must.Eq(t, os.Getpid(), found.PPID)
	must.Eq(t, "app", found.Task)
	must.Eq(t, self.User, found.User)
	must.NotEq(t, "", found.User)
	must.Eq(t, 1, found.Threads)
	must.Positive(t, found.MemoryBytes)
	must.Between(t, -2*time.Second, found.StartedAt.Sub(began), time.Since(began)+2*time.Second)
	must.Greater(t, 1, self.Threads)
	must.Eq(t, "ok\n", string(fetch(t, url+"/healthz")))
}

func TestRunRefusesBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"an argument":           {args: []string{"8099"}, want: `unexpected argument "8099": topz takes only flags`},
		"no duration":           {args: []string{"-interval", "2"}, want: `-interval "2" is not a duration: write it like 2s or 500ms`},
		"too often":             {args: []string{"-interval", "1ms"}, want: "-interval 1ms is too short: use 100ms or more"},
		"an address that isn't": {args: []string{"-listen", "8099"}, want: "listen: "},
		"from the environment":  {env: map[string]string{"TOPZ_LISTEN": "nowhere"}, want: "listen: "},
		"no proc":               {args: []string{"-proc", "/nonexistent"}, want: "open the proc file system"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tc.args, func(k string) string { return tc.env[k] }, io.Discard)
			must.ErrorContains(t, err, tc.want)
		})
	}
	must.ErrorIs(t, run(t.Context(), []string{"-h"}, func(string) string { return "" }, io.Discard), flag.ErrHelp)
}
