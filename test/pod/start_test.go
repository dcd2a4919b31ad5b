package pod_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// hanging wraps a program in a script that hangs if one of its arguments is word.
func hanging(t *testing.T, program, word string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" %s \"*) exec sleep 987003;; esac\nexec %s \"$@\"\n", word, program)
	must.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// TestStart_ProgramHangs checks that a start with a hanging runtime or monitor times out without an
// effect on other pods, and that the same task starts once the program no longer hangs.
func TestStart_ProgramHangs(t *testing.T) {
	for _, verb := range []string{"create", "start", "run", "conmon"} {
		t.Run(verb, func(t *testing.T) {
			matrix.WithOne(t, func(t *testing.T, runtime string) {
				e := newPodEnv(t, runtime)
				e.NoImage = true
				e.startCompanion(t, uuid.Generate())
				config := e.config()
				config.CreateTimeout, config.TeardownTimeout = maxWait/24, maxWait // the test waits for CreateTimeout
				if verb == "conmon" {
					config.Monitor.Path = hanging(t, e.Conmon, "--cid")
				} else {
					config.Runtime.Path = hanging(t, runtime, verb)
				}
				m := pod.New(config)
				task := e.task()
				task.ID += "/hangs"
				task.Share.PID = verb == "run"
				_, err := m.Start(t.Context(), task)
				must.ErrorContains(t, err, map[string]string{
					"create": "waiting for conmon: context deadline exceeded", "start": "start", "run": "start infra process",
					"conmon": "waiting for conmon: context deadline exceeded",
				}[verb])
				must.NoError(t, e.checkCompanions(t.Context(), m))
				must.NoError(t, m.Close())
				must.NoError(t, e.recoverAndRemove(t.Context(), nil))
				e.awaitNoProcess(t, "987003")
			})
		})
	}
}

// awaitNoProcess waits until no process has the word in its command line.
func (e *podEnv) awaitNoProcess(t *testing.T, word string) {
	t.Helper()
	for deadline := time.Now().Add(maxWait); leakcheck.Running(t, word) > 0; {
		must.True(t, time.Now().Before(deadline), must.Sprint("hanging process is still running"))
		time.Sleep(time.Millisecond)
	}
}

// Trap D5: the checked directory is mounted, even if it was replaced after the check.
func TestStart_SwapBetweenCheckAndMount(t *testing.T) {
	victim := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(victim, "file"), []byte("secret"), 0o644))
	matrix.WithBoth(t, func(t *testing.T, runtime string) {
		leakcheck.Check(t, leakcheck.Driver())
		e := newPodEnv(t, runtime)
		dir := e.path("alloc/dir")
		must.NoError(t, os.Mkdir(dir, 0o755))
		must.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("own"), 0o644))
		config := e.config()
		config.Before = func(step string) error {
			if step != "mount on stage" {
				return nil
			}
			return errors.Join(os.Rename(dir, e.path("alloc/was")), os.Symlink(victim, dir))
		}
		m := pod.New(config)
		task := e.plainTask(e.Alloc, "app")
		task.UntrustedBinds = []pod.UntrustedBind{{DirHostPath: e.path("alloc"), Name: "dir", Target: "/conf"}}
		c, err := m.Start(t.Context(), task)
		must.NoError(t, err)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/conf/file", c.Info().PID))
		must.NoError(t, err)
		must.Eq(t, "own", string(b))
		must.NoError(t, c.Destroy(t.Context(), true))
		e.awaitEnd(e.Alloc, func() bool { return false })
		must.NoError(t, m.Close())
	})
}
