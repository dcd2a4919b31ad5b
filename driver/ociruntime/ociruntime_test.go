package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// fake returns a shell script that replaces a runtime or conmon.
func fake(t *testing.T, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return path
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), testtimeout.Scale(30*time.Second))
	t.Cleanup(cancel)
	return c
}

// TestVersions checks that a version is one that the program prints in its form, and never other
// output.
func TestVersions(t *testing.T) {
	for name, tc := range map[string]struct {
		gvisor       bool
		script, want string
		err          string
	}{
		"crun":        {script: "echo crun version 1.8.1; echo commit: x", want: "1.8.1"},
		"nothing":     {script: "exit 0", err: "printed nothing"},
		"control":     {script: `printf 'a \033[31m'`, err: `printed no version: "a \x1b[31m"`},
		"endless":     {script: "head -c 3000 /dev/zero", err: "printed no version: "},
		"runsc":       {true, "echo runsc version v0.0.0-20260905035102-160fafc42237; echo spec: 1.2.1", "v0.0.0-20260905035102-160fafc42237", ""},
		"not runsc":   {true, "echo garbage", "", `runsc is not runsc: --version printed "garbage"`},
		"silent":      {true, "exit 0", "", `is not runsc: --version printed ""`},
		"other":       {true, "echo runc version 1.3", "", `is not runsc: --version printed "runc version 1.3"`},
		"more words":  {true, "echo runsc version 1 or 2", "", "is not runsc: "},
		"no version":  {true, "echo 'runsc version '", "", "is not runsc: "},
		"hostile":     {true, `printf 'runsc version \033[31m\377\n'`, "", `is not runsc: --version printed "runsc version \x1b[31m\xff"`},
		"not ASCII":   {true, "echo runsc version 1é", "", "is not runsc: "},
		"does not do": {true, "echo runsc version 1; exit 3", "", "--version: exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Runtime{Path: fake(t, "runsc", tc.script), Gvisor: tc.gvisor}
			v, err := r.Version(ctx(t))
			must.Eq(t, tc.want, v)
			if tc.err == "" {
				must.NoError(t, err)
				return
			}
			must.ErrorContains(t, err, tc.err)
			must.Less(t, 1000, len(err.Error()))
		})
	}
}

// TestVersion_Hangs checks that a program that prints no version in time leaves no process behind.
func TestVersion_Hangs(t *testing.T) {
	at := filepath.Join(t.TempDir(), "pid")
	path := fake(t, "runsc", "sleep 600 & echo $! > "+at+".new; mv "+at+".new "+at+"; wait")
	c, cancel := context.WithCancel(ctx(t))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := Runtime{Path: path, Gvisor: true}.Version(c)
		done <- err
	}()
	var child process.Identity
	eventually(t, func() error {
		pid, err := readPID(at)
		if err == nil {
			child, err = process.Identify(pid)
		}
		return err
	})
	cancel()
	must.Error(t, <-done)
	eventually(t, func() error {
		if child.Alive() {
			return fmt.Errorf("the child with PID %d is still running", child.PID)
		}
		return nil
	})
}

// TestRuntime_DiesWithCaller checks that a runtime that creates a container is killed with the
// plugin. Otherwise the next plugin could look for leftovers too early.
func TestRuntime_DiesWithCaller(t *testing.T) {
	calls := map[string]func(r Runtime, bundle string) error{
		"probe": func(r Runtime, bundle string) error { return r.Probe(context.Background(), "c1", bundle) },
		"run detached": func(r Runtime, bundle string) error {
			_, err := r.RunDetached(context.Background(), "c1", bundle)
			return err
		},
	}
	const call, bundle = "POD_TEST_CALL", "POD_TEST_BUNDLE"
	if f := calls[os.Getenv(call)]; f != nil { // in the child
		dir := os.Getenv(bundle)
		t.Fatal(f(Runtime{Path: filepath.Join(dir, "crun"), StateDir: filepath.Join(dir, "state")}, dir))
	}
	for name := range calls {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := fmt.Sprintf("#!/bin/sh\necho $$ > %[1]s/at && mv %[1]s/at %[1]s/pid\nexec sleep 600\n", dir)
			must.NoError(t, os.WriteFile(filepath.Join(dir, "crun"), []byte(script), 0o755))
			caller := exec.Command("/proc/self/exe", "-test.run=^TestRuntime_DiesWithCaller$")
			caller.Env = append(os.Environ(), call+"="+name, bundle+"="+dir)
			must.NoError(t, caller.Start())
			var runtime process.Identity
			eventually(t, func() error {
				pid, err := readPID(filepath.Join(dir, "pid"))
				if err == nil {
					runtime, err = process.Identify(pid)
				}
				return err
			})
			must.NoError(t, caller.Process.Kill())
			_ = caller.Wait() // the error is that it was killed
			eventually(t, func() error {
				if runtime.Alive() {
					return fmt.Errorf("runtime with PID %d is still running", runtime.PID)
				}
				return nil
			})
		})
	}
}

func eventually(t *testing.T, ok func() error) {
	t.Helper()
	must.Wait(t, wait.InitialSuccess(wait.ErrorFunc(ok), wait.Gap(5*time.Millisecond), wait.Timeout(testtimeout.Scale(30*time.Second))))
}

// The error contains the reason that the runtime logged, not its exit status.
func TestRuntime_ErrorFromLog(t *testing.T) {
	log := `for a; do case $a in --log=*) echo '{"level":"error","msg":"no such cgroup"}' > ${a#--log=};; esac; done; exit 1`
	err := Runtime{Path: fake(t, "runc", log)}.Start(ctx(t), "c1", "")
	must.ErrorContains(t, err, "runc start c1: no such cgroup")
}

func TestRuntime_EmptyEnvironment(t *testing.T) {
	t.Setenv("LD_PRELOAD_OF_A_TASK", "evil")
	out := filepath.Join(t.TempDir(), "env")
	must.NoError(t, Runtime{Path: fake(t, "runc", "/usr/bin/env > "+out)}.Start(ctx(t), "c1", ""))
	b, err := os.ReadFile(out)
	must.NoError(t, err)
	must.StrNotContains(t, string(b), "LD_PRELOAD_OF_A_TASK")
}

func TestState_UnknownContainer(t *testing.T) {
	r := Runtime{Path: fake(t, "runc", "exit 1"), StateDir: t.TempDir()}
	_, err := r.State(ctx(t), "none")
	must.ErrorIs(t, err, ErrNotFound)
	must.NoError(t, r.Delete(ctx(t), "none"))
	must.NoError(t, os.Mkdir(filepath.Join(r.StateDir, "kept"), 0o700))
	must.Error(t, r.Delete(ctx(t), "kept"))
}

// conmonScript writes its PID like conmon. Tests append further commands.
const conmonScript = `
while [ $# -gt 0 ]; do
  case $1 in --conmon-pidfile) echo 4711 > "$2";; esac
  shift
done
read -n 1 x <&4 2>/dev/null || head -c 1 <&4 > /dev/null
`

func TestCreate_ConmonReport(t *testing.T) {
	for name, tc := range map[string]struct {
		report, want string
		pair         Pair
	}{
		"good":    {`echo '{"data": 4712}' >&3`, "", Pair{InitPID: 4712, MonitorPID: 4711}},
		"failed":  {`echo '{"data": -1, "message": "it broke"}' >&3`, "it broke", Pair{}},
		"silent":  {`:`, "without a report", Pair{}},
		"garbage": {`echo nonsense >&3`, `conmon reported "nonsense"`, Pair{}},
		"status":  {`exit 3`, "exit status 3", Pair{}},
	} {
		t.Run(name, func(t *testing.T) {
			placed := 0
			m := Monitor{Path: fake(t, "conmon", conmonScript+tc.report)}
			pair, err := m.Create(ctx(t), Runtime{Path: fake(t, "runc", "exit 0")}, CreateOptions{
				ID: "c1", Bundle: t.TempDir(), Place: func(pid int) error { placed = pid; return nil },
			})
			must.Positive(t, placed)
			if tc.want != "" {
				must.ErrorContains(t, err, tc.want)
				return
			}
			must.NoError(t, err)
			must.Eq(t, tc.pair, pair)
		})
	}
}

// Trap D20: the monitor's environment is empty, since the runtime inherits it.
func TestMonitor_EmptyEnvironment(t *testing.T) {
	t.Setenv("LD_PRELOAD_OF_A_TASK", "evil")
	bundle := t.TempDir()
	m := Monitor{Path: fake(t, "conmon", "/usr/bin/env > env\n"+conmonScript+`echo '{"data": 4712}' >&3`)}
	_, err := m.Create(ctx(t), Runtime{Path: fake(t, "runc", "exit 0")}, CreateOptions{ID: "c1", Bundle: bundle})
	must.NoError(t, err)
	env, err := os.ReadFile(filepath.Join(bundle, "env"))
	must.NoError(t, err)
	must.StrContains(t, string(env), "_OCI_SYNCPIPE=3")
	must.StrNotContains(t, string(env), "LD_PRELOAD_OF_A_TASK")
}

func TestCreate_ContextCanceled(t *testing.T) {
	c, cancel := context.WithCancel(ctx(t))
	// The monitor stays in the background with the pipe open, as if its runtime hangs. It exits
	// when the test's directory is removed.
	dir := t.TempDir()
	m := Monitor{Path: fake(t, "conmon", conmonScript+"(while [ -d "+dir+" ]; do sleep 0.1; done) & touch "+dir+"/up")}
	go func() {
		for {
			if _, err := os.Stat(dir + "/up"); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond) // poll interval
		}
	}()
	_, err := m.Create(c, Runtime{Path: fake(t, "runc", "exit 0")}, CreateOptions{ID: "c1", Bundle: t.TempDir()})
	must.ErrorIs(t, err, context.Canceled)
}

func TestCreate_PlaceFails(t *testing.T) {
	m := Monitor{Path: fake(t, "conmon", conmonScript+"touch started")}
	bundle := t.TempDir()
	_, err := m.Create(ctx(t), Runtime{Path: fake(t, "runc", "exit 0")}, CreateOptions{
		ID: "c1", Bundle: bundle, Place: func(int) error { return errors.New("no cgroup") },
	})
	must.ErrorContains(t, err, "no cgroup")
	_, err = os.Stat(filepath.Join(bundle, "started"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

func TestExitStatus(t *testing.T) {
	bundle := t.TempDir()
	_, _, err := ExitStatus(bundle)
	must.ErrorIs(t, err, ErrNoExit)
	must.NoError(t, os.WriteFile(filepath.Join(bundle, "exit"), []byte("137"), 0o600))
	code, at, err := ExitStatus(bundle)
	must.NoError(t, err)
	must.Eq(t, 137, code)
	must.False(t, at.IsZero())
}

func FuzzParseExit(f *testing.F) {
	for _, s := range []string{"0", "255", "256", "-1", "", " 7\n", "x", "9999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		code, err := ParseExit(b)
		if err == nil && (code < 0 || code > 255 || strings.TrimSpace(string(b)) == "") {
			t.Fatalf("%q is %d", b, code)
		}
	})
}

func FuzzReport(f *testing.F) {
	for _, s := range []string{
		`{"data": 42}`, `{"data": -1, "message": "no such file"}`, `{"data": 0}`, `{}`, "", "null", "[]", `{"data": "42"}`, `{"data": 1e400}`,
		`{"data": 99999999999999999999}`, `{"DATA": 7}`, `{"data": 1}{"data": 2}`, "\x00", `{"data": -9223372036854775808}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pid, err := parseReport(b)
		if (err == nil) != (pid > 0) {
			t.Fatalf("%q is process %d, %v", b, pid, err)
		}
	})
}

func FuzzLog(f *testing.F) {
	for _, s := range []string{
		`{"level":"error","msg":"one"}` + "\n" + `{"level":"warning","msg":"two"}` + "\n", `{"level":"fatal","msg":"cut`, "", "\n\n", "plain text\n",
		`{"level":["error"],"msg":{}}`, `{"level":"error","msg":""}`, `{"msg":"no level"}`, `[{"level":"error","msg":"x"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := lastError(b); len(got) > 3*len(b) { // an invalid byte becomes three bytes
			t.Fatalf("%q says %q", b, got)
		}
	})
}

// TestLastError_LongLog checks that the error comes from the end of an endless log.
func TestLastError_LongLog(t *testing.T) {
	log := logFile{filepath.Join(t.TempDir(), "log")}
	must.Eq(t, "", log.lastError())
	text := strings.Repeat(`{"level":"error","msg":"early"}`+"\n", 10_000) + `{"level":"error","msg":"late"}` + "\n"
	must.NoError(t, os.WriteFile(log.path, []byte(text), 0o600))
	must.Eq(t, "late", log.lastError())
	must.NoError(t, os.WriteFile(log.path, []byte(text[:40]), 0o600))
	must.Eq(t, "early", log.lastError())
}
