package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// shared contains the agents that tests share, by runtime.
var shared = &sharedAgents{byRuntime: map[string]*sharedAgent{}}

// onSharedAgent runs a test with each runtime on the agent that such tests share. The test has its
// own Nomad namespace and runs in parallel with others: it must not kill or configure anything that
// others use.
func onSharedAgent(t *testing.T, runtimes []string, test func(c *cluster)) {
	t.Parallel()
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			test(shareAgent(t, runtime))
		})
	}
}

// onOwnAgent runs a test with each runtime on its own agent, in parallel with other tests. changes
// modify the agent's options.
func onOwnAgent(t *testing.T, runtimes []string, test func(c *cluster), changes ...func(*agent.Options)) {
	t.Parallel()
	for _, runtime := range runtimes { // one after the other: they may share directories
		t.Run(runtime, func(t *testing.T) {
			test(start(t, runtime, changes...))
		})
	}
}

// exclusively runs a test with each runtime on its own agent while no other test runs. It is for
// tests that measure, or that change what all agents of a machine share.
func exclusively(t *testing.T, runtimes []string, test func(c *cluster), changes ...func(*agent.Options)) {
	for _, runtime := range runtimes {
		t.Run(runtime, func(t *testing.T) {
			sandbox.Require(t)
			leakcheck.Check(t, leakScope())
			test(start(t, runtime, changes...))
		})
	}
}

// shareAgent returns a shared agent in a namespace of the test. After the test its allocations are
// removed, and their leaks fail it.
func shareAgent(t *testing.T, runtime string) *cluster {
	t.Helper()
	options := agentOptions(t, runtime)
	options.LogDir = logDir(t, "shared-"+runtime)
	a, err := shared.get(runtime, options)
	must.NoError(t, err)
	tenant, err := a.In(namespaceOf(t))
	must.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	t.Cleanup(func() {
		defer cancel()
		ctx, cancel := context.WithTimeout(context.Background(), leakcheck.SettleTime()+maxWait)
		defer cancel()
		ids, err := tenant.Leave(ctx)
		if err != nil {
			t.Errorf("remove the test's allocations: %v", err)
		}
		checkLeaks(t, a.DriverDirs(), ids...)
		if t.Failed() {
			t.Log(a.LogTail(40))
		}
	})
	return &cluster{Agent: tenant, t: t, ctx: ctx}
}

// start starts an agent for one test, and stops it after the test. Leaks of the agent fail the
// test.
func start(t *testing.T, runtime string, changes ...func(*agent.Options)) *cluster {
	t.Helper()
	options := agentOptions(t, runtime)
	dir, err := shortDir()
	must.NoError(t, err)
	options.Dir, options.LogDir = filepath.Join(dir, "a"), logDir(t, t.Name())
	for _, change := range changes {
		change(&options)
	}
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	t.Cleanup(cancel)
	a, err := agent.Start(ctx, options)
	if err != nil {
		must.NoError(t, errors.Join(err, os.Remove(dir)))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(a.LogTail(40))
		}
		names := append(allocIDs(a), dir)
		if err := errors.Join(a.Stop(context.Background()), os.Remove(dir)); err != nil {
			t.Errorf("stop: %v", err)
		}
		checkLeaks(t, nil, names...)
	})
	return &cluster{Agent: a, t: t, ctx: ctx}
}

// allocIDs lists the allocations of an agent. It returns none if the test has stopped the agent.
func allocIDs(a *agent.Agent) (ids []string) {
	stubs, _, err := a.Client().Allocations().List(&api.QueryOptions{Namespace: api.AllNamespacesNamespace})
	if err != nil {
		return nil
	}
	for _, stub := range stubs {
		ids = append(ids, stub.ID)
	}
	return ids
}

// agentOptions returns the options of an agent with a runtime, except for its directories. It skips
// the test if a program is missing.
func agentOptions(t *testing.T, runtime string) agent.Options {
	t.Helper()
	sandbox.Require(t)
	plugin := program(t, "nomad-driver-pod")
	runtimePath, err := exec.LookPath(runtime)
	if err != nil {
		t.Skipf("needs %s: run make deps", runtime)
	}
	nomad, err := agent.FindNomad(repository)
	if errors.Is(err, agent.ErrNoNomad) {
		t.Skip(err)
	}
	must.NoError(t, err)
	return agent.Options{
		Nomad: nomad, Plugin: plugin, Runtime: runtimePath,
		HostPaths: []string{filepath.Dir(plugin) + ":" + podBin},
	}
}

func leakScope() leakcheck.Scope {
	return leakcheck.Scope{Cgroups: []string{"nomad", "nomad.slice", "nomad-driver-pod"}}
}

// checkLeaks fails a test if a leftover on the machine contains one of the names.
func checkLeaks(t *testing.T, dirs []string, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), leakcheck.SettleTime())
	defer cancel()
	scope := leakScope()
	scope.Dirs = dirs
	if err := scope.SettleNamed(ctx, names...); err != nil {
		t.Errorf("leaks: %v", err)
	}
}

// shortDir creates a directory with a short path, since the path of a socket below it is limited to
// 108 bytes (unix(7)).
func shortDir() (string, error) {
	dir, err := os.MkdirTemp("", "pod")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// namespaceOf returns a Nomad namespace for a test.
func namespaceOf(t *testing.T) string {
	return strings.Trim(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(t.Name(), "-"), "-")
}

// runTests runs all tests, stops the shared agents, and fails if the tests have left anything on
// the machine.
func runTests(m *testing.M) int {
	if sandbox.Unavailable() != "" {
		return m.Run()
	}
	defer keepLogs()()
	before, err := leakScope().Snapshot()
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), leakcheck.SettleTime())
	defer cancel()
	err = errors.Join(err, shared.stop())
	if err == nil {
		err = leakScope().Settle(ctx, before)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: after all tests:", err)
		printLogs(os.Stderr, uuids.FindAllString(err.Error(), -1))
		return 1
	}
	return code
}

// logsEnv names the directory that the agents' logs are written to.
const logsEnv = "POD_TEST_LOGS"

// keepLogs keeps the agents' logs after their tests, until the returned function is called.
func keepLogs() (remove func()) {
	if os.Getenv(logsEnv) != "" {
		return func() {}
	}
	dir, err := os.MkdirTemp("", "podlogs")
	if err != nil {
		return func() {}
	}
	_ = os.Setenv(logsEnv, dir)
	return func() { _ = os.RemoveAll(dir) }
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// printLogs prints the lines of the agents' logs about the allocations.
func printLogs(to io.Writer, ids []string) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv(logsEnv), "*", "*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(line, id) }) {
				fmt.Fprintf(to, "%s: %s", filepath.Base(filepath.Dir(file)), line)
			}
		}
	}
}

// sharedAgents starts an agent for each runtime on first use.
type sharedAgents struct {
	mu        sync.Mutex
	byRuntime map[string]*sharedAgent
}

type sharedAgent struct {
	*agent.Agent
	dir string
	err error // error of the start
}

func (s *sharedAgents) get(runtime string, options agent.Options) (*agent.Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.byRuntime[runtime]; a != nil {
		return a.Agent, a.err
	}
	a := &sharedAgent{}
	s.byRuntime[runtime] = a
	if a.dir, a.err = shortDir(); a.err == nil {
		options.Dir = filepath.Join(a.dir, "a")
		a.Agent, a.err = agent.Start(context.Background(), options)
	}
	return a.Agent, a.err
}

// stop stops the agents. An agent that did not start has left only a directory.
func (s *sharedAgents) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.byRuntime {
		if a.Agent != nil {
			errs = append(errs, a.Stop(context.Background()))
		}
		errs = append(errs, os.Remove(a.dir))
	}
	return errors.Join(errs...)
}
