package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
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
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Run(func() int { return runTests(m) }))
}

const (
	repository = "../.."
	webJob     = repository + "/jobs/examples/web.nomad.hcl"

	// podBin is the path of the repository's bin in tasks.
	podBin = "/opt/nomad-sidecar/bin"
)

var (
	// maxWait bounds each single wait.
	maxWait = testtimeout.Scale(30 * time.Second)
	// atMost bounds a whole test.
	atMost = testtimeout.Scale(5 * time.Minute)
)

// cluster is a running agent and the test that uses it.
type cluster struct {
	*agent.Agent
	t   *testing.T
	ctx context.Context
}

// logDir returns a directory for the agent's logs below the one named by logsEnv, or "" to remove
// the logs with the agent.
func logDir(t *testing.T, name string) string {
	t.Helper()
	top := os.Getenv(logsEnv)
	if top == "" {
		return ""
	}
	dir := filepath.Join(top, strings.ReplaceAll(name, "/", "_"))
	must.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

// program returns the absolute path of a program built by make build.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(repository, "bin", name))
	must.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs bin/%s: run make build", name)
	}
	return path
}

// build builds the program of a package of this repository into a directory.
func build(t *testing.T, dir, name string) string {
	t.Helper()
	sandbox.Require(t)
	path := filepath.Join(dir, filepath.Base(name))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./"+name)
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	must.NoError(t, err, must.Sprintf("build %s: %s", name, out))
	return path
}

// inject runs the templater on a job file and returns its output.
func inject(t *testing.T, args ...string) string {
	t.Helper()
	return injectFrom(t, nil, args...)
}

// injectText is inject for the text of a job.
func injectText(t *testing.T, job string) string {
	t.Helper()
	return injectFrom(t, strings.NewReader(job), "-")
}

func injectFrom(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "nomad-sidecar"), append([]string{"inject"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	must.NoError(t, err, must.Sprintf("inject %v: %s", args, &stderr))
	return string(out)
}

// testdata returns a job file of this package with replacements as for strings.NewReplacer.
func testdata(t *testing.T, name string, replacements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	must.NoError(t, err)
	return strings.NewReplacer(replacements...).Replace(string(text))
}

// start registers a job of many allocations without waiting for a particular one.
func (c *cluster) start(hcl string) {
	c.t.Helper()
	_, err := c.RunJob(c.ctx, hcl)
	must.NoError(c.t, err)
}

// run runs a job and waits until its allocation has one of the statuses.
func (c *cluster) run(hcl string, statuses ...string) *api.Allocation {
	c.t.Helper()
	alloc, err := c.RunJob(c.ctx, hcl)
	must.NoError(c.t, err)
	return c.waitAlloc(alloc.ID, statuses...)
}

func (c *cluster) waitAlloc(id string, statuses ...string) *api.Allocation {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, maxWait)
	defer cancel()
	alloc, err := c.WaitAlloc(ctx, id, statuses...)
	must.NoError(c.t, err)
	return alloc
}

func (c *cluster) waitTask(id, task string, condition func(*api.TaskState) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, maxWait)
	defer cancel()
	must.NoError(c.t, c.WaitTask(ctx, id, task, condition))
}

// runInjected runs the example job with its sidecars.
func (c *cluster) runInjected() *api.Allocation {
	c.t.Helper()
	alloc, err := c.RunJob(c.ctx, inject(c.t, webJob))
	must.NoError(c.t, err)
	ctx, cancel := context.WithTimeout(c.ctx, maxWait)
	defer cancel()
	alloc, err = c.WaitRunning(ctx, alloc.ID)
	must.NoError(c.t, err)
	must.MapContainsKeys(c.t, alloc.TaskStates, []string{"app", "tls-proxy", "topz"})
	return alloc
}

// exec runs a command in a task and requires it to succeed. It waits for Nomad to record the task
// as running, which may be later than the task's first output.
func (c *cluster) exec(alloc *api.Allocation, task string, command ...string) string {
	c.t.Helper()
	var result agent.Result
	var err error
	c.eventually("Nomad runs a command in "+task, func() error {
		result, err = c.Exec(c.ctx, alloc, task, command...)
		if err != nil && (strings.Contains(err.Error(), "is not running") || strings.Contains(err.Error(), "not started yet")) {
			return err
		}
		return nil
	})
	must.NoError(c.t, err)
	must.Zero(c.t, result.Code, must.Sprintf("%v in %s: %s", command, task, result.Stderr))
	return result.Stdout
}

// eventually waits until try returns nil.
func (c *cluster) eventually(what string, try func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, maxWait)
	defer cancel()
	must.NoError(c.t, agent.Until(ctx, what, try))
}

// waitLog waits until a task's output contains a text, and returns the output. It reads the file,
// since each request to Nomad leaves a connection open (GetNodeClient of Nomad's api), of which at
// most 100 are allowed.
func (c *cluster) waitLog(alloc *api.Allocation, task, stream, text string) string {
	c.t.Helper()
	file := filepath.Join(c.SharedDir(alloc.ID), "logs", fmt.Sprintf("%s.%s.0", task, stream))
	c.eventually("the "+stream+" of "+task+" is there", func() error {
		all, err := os.ReadFile(file)
		if err == nil && !strings.Contains(string(all), text) {
			err = fmt.Errorf("no %q in %q", text, all)
		}
		return err
	})
	var logs string
	c.eventually("Nomad serves "+stream+" of "+task, func() (err error) { // the server learns of the start later
		logs, err = c.Logs(c.ctx, alloc, task, stream)
		return err
	})
	must.StrContains(c.t, logs, text)
	return logs
}
