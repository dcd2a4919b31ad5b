package driver_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/client/allocdir"
	"github.com/hashicorp/nomad/client/logmon"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"
	"github.com/hashicorp/nomad/plugins/drivers/testutils"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	if pod.Reexec() || servePlugin() {
		return
	}
	os.Exit(sandbox.Main(m))
}

// maxWait bounds every wait. No passing test reaches it.
var maxWait = testtimeout.Scale(30 * time.Second)

// withRuntimes and withOneRuntime run a test with OCI runtimes: see package matrix.
var (
	withRuntimes   = matrix.WithBoth
	withOneRuntime = matrix.WithOne
)

// node is a driver and its directories, as a Nomad client has them.
type node struct {
	t      *testing.T
	config driver.PluginConfig
	*testutils.DriverHarness
	impl   *driver.Driver
	allocs map[string]*allocdir.AllocDir
	ran    sync.Map // IDs of started tasks

	// programs are copies that belong to the node. A test may break them.
	programs struct{ runtime, conmon string }
}

// newNode starts a driver with a configuration that a test may change. The test fails if the driver
// leaves anything behind.
func newNode(t *testing.T, change func(*driver.PluginConfig)) *node {
	t.Helper()
	leakcheck.Check(t, leakcheck.Driver())
	dir := t.TempDir()
	n := &node{t: t, allocs: map[string]*allocdir.AllocDir{}, config: driver.PluginConfig{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"),
		PodLinger: "0s", PidsLimit: 512, LogCollector: "nomad", Image: driver.ImageConfig{Paths: []string{"/"}, PullTimeout: (2 * maxWait).String(), PullActivityTimeout: maxWait.String()},
	}}
	if change != nil {
		change(&n.config)
	}
	n.ownPrograms(dir)
	n.start()
	t.Cleanup(n.stop)
	return n
}

// ownPrograms writes wrappers of the runtime and conmon to the node's directory, unless the test
// configures others.
func (n *node) ownPrograms(dir string) {
	n.t.Helper()
	own := func(key *string, name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			return *key
		}
		wrapper := filepath.Join(dir, filepath.Base(name))
		must.NoError(n.t, os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+path+" \"$@\"\n"), 0o755))
		*key = wrapper
		return wrapper
	}
	if n.config.Runtime != "" {
		n.programs.runtime = own(&n.config.Runtime, n.config.Runtime)
	}
	if n.config.Conmon == "" {
		n.programs.conmon = own(&n.config.Conmon, "conmon")
	}
}

// fingerprint returns the driver's first fingerprint.
func (n *node) fingerprint() *drivers.Fingerprint {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	ch, err := n.impl.Fingerprint(ctx)
	must.NoError(n.t, err)
	select {
	case fp := <-ch:
		return fp
	case <-ctx.Done():
		n.t.Fatal("no fingerprint")
		return nil
	}
}

func (n *node) start() {
	n.t.Helper()
	n.impl = driver.New(testlog.HCLogger(n.t))
	n.DriverHarness = testutils.NewDriverHarness(n.t, n.impl)
	var encoded []byte
	must.NoError(n.t, base.MsgPackEncode(&encoded, &n.config))
	must.NoError(n.t, n.SetConfig(&base.Config{PluginConfig: encoded}))
}

// stop closes the driver after its pods were removed.
func (n *node) stop() {
	n.t.Helper()
	n.waitFor("the pods to be removed", func() bool {
		entries, err := os.ReadDir(filepath.Join(n.config.RunDir, "pods"))
		return os.IsNotExist(err) || err == nil && len(entries) == 0
	})
	n.abandon()
}

// abandon closes the driver as a graceful stop of Nomad does: tasks continue.
func (n *node) abandon() {
	n.t.Helper()
	n.DriverHarness.Kill()
	must.NoError(n.t, n.impl.Close())
}

func (n *node) waitFor(what string, done func() bool) {
	n.t.Helper()
	deadline := time.Now().Add(maxWait)
	for !done() {
		if time.Now().After(deadline) {
			n.t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// task is a task as Nomad passes it to the driver.
type task struct {
	*drivers.TaskConfig
	n *node
}

// newTask creates the directories of a task in an allocation. If alloc is empty, the allocation is
// new.
func (n *node) newTask(alloc, name string, config driver.TaskConfig, change func(*drivers.TaskConfig)) *task {
	n.t.Helper()
	if alloc == "" {
		alloc = uuid.Generate()
	}
	tk := &task{n: n, TaskConfig: &drivers.TaskConfig{
		ID: alloc + "/" + name + "/" + uuid.Short(), AllocID: alloc, Name: name, JobName: "job", Env: map[string]string{},
		Resources: &drivers.Resources{
			NomadResources: &structs.AllocatedTaskResources{
				Memory: structs.AllocatedMemoryResources{MemoryMB: 64},
				Cpu:    structs.AllocatedCpuResources{CpuShares: 100},
			},
			LinuxResources: &drivers.LinuxResources{CPUShares: 100, MemoryLimitBytes: 64 << 20},
		},
	}}
	if change != nil {
		change(tk.TaskConfig)
	}
	must.NoError(n.t, tk.EncodeConcreteDriverConfig(&config))
	n.makeDirs(tk.TaskConfig)
	return tk
}

// quiet changes a task to discard its output.
func quiet(c *drivers.TaskConfig) { c.StdoutPath, c.StderrPath = os.DevNull, os.DevNull }

// makeDirs creates the things that Nomad creates before a task starts: the directories of
// the allocation and the task, and a collector that reads the task's output.
func (n *node) makeDirs(cfg *drivers.TaskConfig) {
	n.t.Helper()
	log := testlog.HCLogger(n.t)
	dir := n.allocs[cfg.AllocID]
	if dir == nil {
		base := n.t.TempDir()
		must.NoError(n.t, os.Chmod(base, 0o755))
		dir = allocdir.NewAllocDir(log, base, n.t.TempDir(), cfg.AllocID)
		must.NoError(n.t, dir.Build())
		n.t.Cleanup(func() { must.NoError(n.t, dir.Destroy()) })
		n.allocs[cfg.AllocID] = dir
	}
	cfg.AllocDir = dir.AllocDir
	spec := &structs.Task{Name: cfg.Name, Env: cfg.Env}
	taskDir := dir.NewTaskDir(spec)
	must.NoError(n.t, taskDir.Build(fsisolation.Image, nil, cfg.User))
	for k, v := range map[string]string{
		"NOMAD_ALLOC_DIR": "/alloc", "NOMAD_TASK_DIR": "/local", "NOMAD_SECRETS_DIR": "/secrets",
	} {
		cfg.Env[k] = v
	}
	n.makeCgroup(cfg)
	if cfg.StdoutPath != "" {
		return // the test discards the output
	}
	cfg.StdoutPath = filepath.Join(taskDir.LogDir, "."+cfg.Name+".stdout.fifo")
	cfg.StderrPath = filepath.Join(taskDir.LogDir, "."+cfg.Name+".stderr.fifo")
	lm := logmon.NewLogMon(log.Named("logmon"))
	must.NoError(n.t, lm.Start(&logmon.LogConfig{
		LogDir: taskDir.LogDir, StdoutLogFile: cfg.Name + ".stdout", StderrLogFile: cfg.Name + ".stderr",
		StdoutFifo: cfg.StdoutPath, StderrFifo: cfg.StderrPath, MaxFiles: 10, MaxFileSizeMB: 10,
	}))
	stdout, stderr := cfg.StdoutPath, cfg.StderrPath // a test may change the paths in cfg
	n.t.Cleanup(func() {
		if _, ran := n.ran.Load(cfg.ID); !ran || cfg.StdoutPath != stdout {
			dropFIFO(stdout)
			dropFIFO(stderr)
		}
		must.NoError(n.t, lm.Stop())
	})
}

// StartTask records the started tasks.
func (n *node) StartTask(cfg *drivers.TaskConfig) (*drivers.TaskHandle, *drivers.DriverNetwork, error) {
	handle, network, err := n.DriverHarness.StartTask(cfg)
	if err == nil {
		n.ran.Store(cfg.ID, true)
	}
	return handle, network, err
}

// dropFIFO ends a collector that waits for the first writer of a task that did not start. The
// collector may not have opened the FIFO yet, or may have ended if the start failed late.
func dropFIFO(path string) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			_ = unix.Close(fd)
			return
		}
	}
}

// sh returns the config of a task that runs a shell script with the host's programs.
func sh(script string) driver.TaskConfig {
	return driver.TaskConfig{Command: "/bin/sh", Args: []string{"-c", script}}
}

// start starts the task, and destroys it after the test.
func (tk *task) start() *drivers.TaskHandle {
	tk.n.t.Helper()
	handle, _, err := tk.n.StartTask(tk.TaskConfig)
	must.NoError(tk.n.t, err)
	tk.n.t.Cleanup(func() { must.NoError(tk.n.t, tk.n.DestroyTask(tk.ID, true)) })
	return handle
}

// wait waits for the task to exit and returns the result.
func (tk *task) wait() *drivers.ExitResult {
	tk.n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	ch, err := tk.n.WaitTask(ctx, tk.ID)
	must.NoError(tk.n.t, err)
	select {
	case r := <-ch:
		must.NotNil(tk.n.t, r)
		return r
	case <-ctx.Done():
		tk.n.t.Fatalf("task %s did not end", tk.Name)
		return nil
	}
}

// output waits until enough returns true for the task's output, for at most maxWait.
func (tk *task) output(stream string, enough func(string) bool) string {
	tk.n.t.Helper()
	path := filepath.Join(tk.TaskDir().LogDir, tk.Name+"."+stream+".0")
	var text string
	tk.n.waitFor(fmt.Sprintf("output of %s", tk.Name), func() bool {
		b, err := os.ReadFile(path)
		text = string(b)
		return err == nil && enough(text)
	})
	return text
}

func contains(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

// exec runs a script in the task and returns what it printed.
func (tk *task) exec(script string) string {
	tk.n.t.Helper()
	res, err := tk.n.ExecTask(tk.ID, []string{"/bin/sh", "-c", script}, maxWait)
	must.NoError(tk.n.t, err)
	must.Eq(tk.n.t, 0, res.ExitResult.ExitCode, must.Sprintf("%s: %s%s", script, res.Stdout, res.Stderr))
	return string(res.Stdout)
}
