package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m))
}

const repository = "../../.."

const bridgeJob = `
job "bridge" {
  group "g" {
    network {
      mode = "bridge"
      port "http" { to = 8000 }
    }
    task "server" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args = ["-c", "echo started; trap 'exit 3' TERM; while :; do echo alive >&2; sleep 0.1; done"]
      }
      resources {
        cpu = 50
        memory = 32
      }
    }
  }
}`

// start starts an agent without the plugin, stops it after the test, and checks for leaks.
func start(t *testing.T, options agent.Options) (context.Context, *agent.Agent) {
	t.Helper()
	sandbox.Require(t)
	nomad, err := agent.FindNomad(repository)
	if errors.Is(err, agent.ErrNoNomad) {
		t.Skip(err)
	}
	must.NoError(t, err)
	leakcheck.Check(t, leakcheck.Scope{Cgroups: []string{"nomad", "nomad.slice"}})

	ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(2*time.Minute))
	t.Cleanup(cancel)
	options.Nomad = nomad
	options.Dir = filepath.Join(t.TempDir(), "agent")
	a, err := agent.Start(ctx, options)
	must.NoError(t, err)
	t.Cleanup(func() {
		must.NoError(t, a.Stop(context.Background()))
	})
	return ctx, a
}

func TestAgent_BridgeMode(t *testing.T) {
	ctx, a := start(t, agent.Options{})
	alloc, err := a.RunJob(ctx, bridgeJob)
	must.NoError(t, err)
	alloc, err = a.WaitAlloc(ctx, alloc.ID, api.AllocClientStatusRunning)
	must.NoError(t, err)
	must.NotEq(t, 0, alloc.AllocatedResources.Shared.Ports[0].Value)

	must.NoError(t, agent.Until(ctx, "the log has a line", func() error {
		text, err := a.Logs(ctx, alloc, "server", "stdout")
		if err == nil && !strings.Contains(text, "started\n") {
			err = fmt.Errorf("log is %q", text)
		}
		return err
	}))
	result, err := a.Exec(ctx, alloc, "server", "sh", "-c", "echo out; echo err >&2; exit 4")
	must.NoError(t, err)
	must.Eq(t, agent.Result{Stdout: "out\n", Stderr: "err\n", Code: 4}, result)
}

func TestLaunch_AfterKill(t *testing.T) {
	ctx, a := start(t, agent.Options{})
	alloc, err := a.RunJob(ctx, bridgeJob)
	must.NoError(t, err)
	_, err = a.WaitAlloc(ctx, alloc.ID, api.AllocClientStatusRunning)
	must.NoError(t, err)

	// Nomad saves the state of the network when it exits cleanly; see TestCrash_TasksSurvive.
	must.NoError(t, a.Shutdown(ctx))
	must.NoError(t, a.Launch(ctx))
	must.NoError(t, a.Kill(ctx))
	_, err = a.Exec(ctx, alloc, "server", "true")
	must.Error(t, err)
	must.NoError(t, a.Launch(ctx))
	must.NoError(t, agent.Until(ctx, "the client has restored the task", func() error {
		_, err := a.Exec(ctx, alloc, "server", "true")
		return err
	}))
	alloc, err = a.WaitRunning(ctx, alloc.ID)
	must.NoError(t, err)
	must.Zero(t, alloc.TaskStates["server"].Restarts)
}

func TestStop_AfterKill(t *testing.T) {
	ctx, a := start(t, agent.Options{})
	must.NoError(t, a.Kill(ctx))
	must.NoError(t, a.Stop(ctx))
	_, err := os.Stat(a.Dir())
	must.ErrorIs(t, err, os.ErrNotExist)
}

func TestRunJob_Invalid(t *testing.T) {
	ctx, a := start(t, agent.Options{})
	_, err := a.RunJob(ctx, `job "x" { nonsense = }`)
	must.ErrorContains(t, err, "parse job")

	failing := strings.Replace(bridgeJob, "/bin/sh", "/no/such/program", 1)
	failing = strings.Replace(failing, "group \"g\" {", `group "g" {
    restart { attempts = 0 }
    reschedule { attempts = 0 }`, 1)
	alloc, err := a.RunJob(ctx, failing)
	must.NoError(t, err)
	_, err = a.WaitAlloc(ctx, alloc.ID, api.AllocClientStatusRunning)
	must.ErrorContains(t, err, "status is failed")
	must.ErrorContains(t, err, "/no/such/program")
}

func TestStart_UnusableConfiguration(t *testing.T) {
	sandbox.Require(t)
	nomad, err := agent.FindNomad(repository)
	if errors.Is(err, agent.ErrNoNomad) {
		t.Skip(err)
	}
	must.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "agent")
	ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(time.Minute))
	defer cancel()
	_, err = agent.Start(ctx, agent.Options{Nomad: nomad, Dir: dir, Plugin: "/no/such/plugin"})
	must.ErrorContains(t, err, "/no/such/plugin")
	must.ErrorContains(t, err, "make build")
	_, err = os.Stat(dir)
	must.ErrorIs(t, err, os.ErrNotExist)
}

// TestStop_RestoresMachine checks that Stop removes the bridge, the chains and the rules of the
// agent, and leaves everything that existed before.
func TestStop_RestoresMachine(t *testing.T) {
	sandbox.Require(t)
	rule := []string{"-I", "FORWARD", "-m", "comment", "--comment", "of someone else", "-j", "ACCEPT"}
	must.NoError(t, exec.Command("iptables", rule...).Run())
	before := networkState(t)

	t.Run("agent", func(t *testing.T) {
		ctx, a := start(t, agent.Options{})
		alloc, err := a.RunJob(ctx, bridgeJob)
		must.NoError(t, err)
		_, err = a.WaitAlloc(ctx, alloc.ID, api.AllocClientStatusRunning)
		must.NoError(t, err)
		must.NotEq(t, before, networkState(t))
	})

	must.Eq(t, before, networkState(t))
	for _, path := range []string{"/run/cni", "/run/netns", "/var/lib/cni/networks", "/var/lib/cni/results"} {
		_, err := os.Stat(path)
		must.ErrorIs(t, err, os.ErrNotExist, must.Sprint(path))
	}
}

// networkState returns the links, rules and chains other than the built-in ones.
func networkState(t *testing.T) string {
	t.Helper()
	links, err := net.Interfaces()
	must.NoError(t, err)
	var state []string
	for _, link := range links {
		state = append(state, link.Name)
	}
	out, err := exec.Command("iptables-save").Output()
	must.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		builtIn := strings.HasPrefix(line, ":") && !strings.Contains(line, " - ")
		if (strings.HasPrefix(line, ":") || strings.HasPrefix(line, "-")) && !builtIn {
			state = append(state, strings.TrimSpace(line))
		}
	}
	return strings.Join(state, "\n")
}
