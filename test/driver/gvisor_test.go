package driver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// newGvisorNode starts a node on which tasks may name runsc.
func newGvisorNode(t *testing.T, change func(*driver.PluginConfig)) *node {
	t.Helper()
	path := matrix.GvisorRuntime(t)
	return newNode(t, func(c *driver.PluginConfig) {
		c.Runtimes.Runsc = &driver.RunscConfig{Path: path}
		if change != nil {
			change(c)
		}
	})
}

// inGvisor returns a config for a gVisor pod.
func inGvisor(c driver.TaskConfig) driver.TaskConfig {
	c.Runtime = "runsc"
	return c
}

// alone gives a pod a network of its own.
func alone(c *drivers.TaskConfig) {
	c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeNone}
}

// sandboxOf returns the process of a task's sandbox.
func (tk *task) sandboxOf() int {
	tk.n.t.Helper()
	b, err := os.ReadFile(filepath.Join(tk.n.config.RunDir, "pods", tk.AllocID, "holder/pid"))
	must.NoError(tk.n.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must.NoError(tk.n.t, err)
	return pid
}

// httpServer is a script that serves HTTP on a port of loopback.
func httpServer(port int) string {
	return fmt.Sprintf(`perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:%d", ReuseAddr => 1) or die; while ($c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\r\n\r\nhello\n"; close $c }' & `, port)
}

// TestRunsc checks a pod of two tasks, one with an image: what they share, their output, signals and
// exit codes.
func TestRunsc(t *testing.T) {
	n := newGvisorNode(t, nil)
	fp := n.fingerprint()
	supported, _ := fp.Attributes["driver.pod.runtime.runsc"].GetBool()
	must.True(t, supported)
	version, _ := fp.Attributes["driver.pod.runtime.runsc.version"].GetString()
	must.NotEq(t, "", version)

	config := inGvisor(sh("echo up; " + httpServer(8080) + "trap 'exit 3' USR1; while :; do sleep 0.1; done"))
	config.PodVolumes = map[string]driver.VolumeConfig{"shared": {Target: "/shared"}}
	config.Hostname, config.Init = "sandboxed", true
	config.Ready = &driver.ReadyConfig{HTTP: "http://127.0.0.1:8080/", Interval: "50ms", Timeout: maxWait.String()}
	app := n.newTask("", "app", config, alone)
	app.start()
	app.output("stdout", contains("up"))
	image := config
	image.Command, image.Args = "", []string{"-c", "echo up >&2; echo again > /dev/stdout; exec sleep 1000"}
	image.Image = testimage.Layout(t, filepath.Join(t.TempDir(), "shell"), shellImage(t, v1.Config{Entrypoint: []string{"/bin/sh"}}))
	image.Ready = &driver.ReadyConfig{File: "/alloc/data/file", Interval: "50ms", Timeout: maxWait.String()}
	app.exec("umask 0; echo shared > /alloc/data/file; echo volume > /shared/file; echo memory > /dev/shm/file")
	side := n.newTask(app.AllocID, "side", image, alone)
	side.start()
	side.output("stderr", contains("up"))
	side.output("stdout", contains("again"))

	must.StrContains(t, app.exec("dmesg"), "gVisor")
	must.Eq(t, "sandboxed\n", side.exec("cat /proc/sys/kernel/hostname"))
	must.Eq(t, "shared\nvolume\nmemory\n", side.exec("cat /alloc/data/file /shared/file /dev/shm/file"))
	must.Eq(t, "hello\n", app.exec(`perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("127.0.0.1:8080"); print $s "GET / HTTP/1.0\r\n\r\n"; print((<$s>)[2])'`))
	must.StrNotContains(t, side.exec("cat /proc/[0-9]*/cmdline"), "perl", must.Sprint("PIDs are not shared"))
	result, err := n.ExecTask(side.ID, []string{"/not/there"}, maxWait)
	if err == nil {
		must.NotEq(t, 0, result.ExitResult.ExitCode)
	}
	result, err = n.ExecTask(side.ID, []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 7"}, maxWait)
	must.NoError(t, err)
	must.Eq(t, 7, result.ExitResult.ExitCode)
	must.Eq(t, "out\n", string(result.Stdout))
	must.Eq(t, "err\n", string(result.Stderr))

	must.NoError(t, n.SignalTask(app.ID, "SIGUSR1"))
	must.Eq(t, drivers.ExitResult{ExitCode: 3}, *app.wait())
	must.NoError(t, n.StopTask(side.ID, 100*time.Millisecond, "SIGUSR2"))
	must.Eq(t, 12, side.wait().Signal)
}

// TestRunsc_SharedPIDs checks that tasks can share processes, that orphans are reaped, and that the
// end of a task ends all of its own processes and no other.
func TestRunsc_SharedPIDs(t *testing.T) {
	n := newGvisorNode(t, nil)
	config := inGvisor(sh("sleep 1001 & sleep 1002 & while [ ! -e /alloc/go ]; do sleep 0.05; done"))
	config.Share = []string{"ipc", "uts", "pid"}
	app := n.newTask("", "app", config, alone)
	app.start()
	config.Args[1] = "exec sleep 1003"
	side := n.newTask(app.AllocID, "side", config, alone)
	side.start()
	must.StrContains(t, side.exec("ps ax"), "sleep 1001")
	app.writeAllocFile("go")
	must.Eq(t, 0, app.wait().ExitCode)
	n.waitFor("the end of the task's processes", func() bool { return !strings.Contains(side.exec("ps ax"), "sleep 1001") })
	must.StrContains(t, side.exec("ps ax"), "sleep 1003")

	config.Share = nil
	err := n.startError(n.newTask(app.AllocID, "other", config, alone))
	must.ErrorContains(t, err, "either all tasks of a pod share \"pid\" or none")
	must.False(t, structs.IsRecoverable(err))
}

// TestRunsc_Recover checks that a task and its exit code survive the end of the plugin.
func TestRunsc_Recover(t *testing.T) {
	n := newGvisorNode(t, nil)
	app := n.newTask("", "app", inGvisor(sh("i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done")), alone)
	handle := app.start()
	batch := n.newTask(app.AllocID, "batch", inGvisor(sh("until [ -e /alloc/go ]; do sleep 0.05; done; exit 7")), alone)
	batchHandle := batch.start()
	n.abandon()
	batch.writeAllocFile("go")
	exit := filepath.Join(n.config.RunDir, "pods", app.AllocID, "tasks", "*.batch.*", "exit")
	n.waitFor("the end of the task", func() bool {
		found, _ := filepath.Glob(exit)
		return len(found) == 1
	})
	n.start()
	must.NoError(t, n.RecoverTask(batchHandle))
	must.Eq(t, drivers.ExitResult{ExitCode: 7}, *batch.wait())
	must.NoError(t, n.RecoverTask(handle))
	must.Eq(t, "ok\n", app.exec("echo ok"))
	must.NoError(t, n.StopTask(app.ID, maxWait, "SIGTERM"))
	must.Eq(t, 15, app.wait().Signal)
	lines := strings.Fields(strings.ReplaceAll(app.output("stdout", contains("line 2\n")), "line ", ""))
	for i, l := range lines {
		must.Eq(t, strconv.Itoa(i+1), l, must.Sprint("number of the next line"))
	}
}

// TestRunsc_OutOfMemory checks that the tasks of a pod together have the memory of all of them and
// gVisor's own, that all of them end beyond it, and that the pod can be started again.
func TestRunsc_OutOfMemory(t *testing.T) {
	n := newGvisorNode(t, nil)
	const hog = `exec perl -e '$s .= "x" x (1 << 24) while 1'`
	bystander := n.newTask("", "bystander", inGvisor(sh("sleep infinity")), alone)
	bystander.start()
	app := n.newTask(bystander.AllocID, "app", inGvisor(sh("until [ -e /alloc/go ]; do sleep 0.05; done; "+hog)), alone)
	app.start()
	app.writeAllocFile("go")
	res := app.wait()
	must.True(t, res.OOMKilled, must.Sprint(res))
	must.True(t, bystander.wait().OOMKilled)
	again := n.newTask(bystander.AllocID, "again", inGvisor(sh("exit 5")), alone)
	again.start()
	must.Eq(t, 5, again.wait().ExitCode)
}

// TestRunsc_SandboxKilled checks that the tasks of a sandbox that ends say why, and that the pod can be
// started again.
func TestRunsc_SandboxKilled(t *testing.T) {
	n := newGvisorNode(t, nil)
	events := n.watchEvents()
	app := n.newTask("", "app", inGvisor(sh("sleep infinity")), alone)
	app.start()
	must.NoError(t, unix.Kill(app.sandboxOf(), unix.SIGKILL))
	res := app.wait()
	must.StrNotContains(t, events(), "did not kill the task")
	must.Eq(t, 9, res.Signal)
	must.ErrorContains(t, res.Err, "the pod's sandbox (runsc, process ")
	again := n.newTask(app.AllocID, "again", inGvisor(sh("exit 5")), alone)
	again.start()
	must.Eq(t, 5, again.wait().ExitCode)
}

// TestRunsc_SandboxHangs checks that a sandbox that does not do as it is told does not keep its tasks
// from being stopped.
func TestRunsc_SandboxHangs(t *testing.T) {
	n := newGvisorNode(t, nil)
	events := n.watchEvents()
	app := n.newTask("", "app", inGvisor(sh("sleep infinity")), alone)
	app.start()
	must.NoError(t, unix.Kill(app.sandboxOf(), unix.SIGSTOP))
	must.NoError(t, n.StopTask(app.ID, 50*time.Millisecond, "SIGTERM"))
	n.waitFor("the event", func() bool { return strings.Contains(events(), "The pod's sandbox did not kill the task") })
	must.NoError(t, n.DestroyTask(app.ID, true))
}

// TestRunsc_Live checks that a task is checked inside the sandbox and stopped when it does not work.
func TestRunsc_Live(t *testing.T) {
	n := newGvisorNode(t, nil)
	alloc := ""
	var tasks []*task
	for _, tc := range []struct {
		name, script string
		check        driver.LiveConfig
	}{
		{"file", "touch /local/up; until [ -e /alloc/now ]; do sleep 0.05; done; rm /local/up", driver.LiveConfig{File: "/local/up"}},
		{"exec", "touch /local/up; until [ -e /alloc/now ]; do sleep 0.05; done; rm /local/up", driver.LiveConfig{Exec: []string{"/bin/sh", "-c", "exec test -e /local/up"}}},
		{"tcp", httpServer(8081) + "p=$!; until [ -e /alloc/now ]; do sleep 0.05; done; kill $p", driver.LiveConfig{TCP: "127.0.0.1:8081"}},
		{"http", httpServer(8082) + "p=$!; until [ -e /alloc/now ]; do sleep 0.05; done; kill $p", driver.LiveConfig{HTTP: "http://127.0.0.1:8082/"}},
	} {
		config := live(inGvisor(sh("trap 'exit 0' USR1; "+tc.script+"; while :; do sleep 0.05; done")), tc.check)
		config.Live.Interval, config.Live.Timeout = "2s", "2s"
		tk := n.newTask(alloc, tc.name, ready(config, driver.ReadyConfig{Exec: tc.check.Exec, HTTP: tc.check.HTTP, TCP: tc.check.TCP, File: tc.check.File}), func(c *drivers.TaskConfig) {
			quiet(c)
			alone(c)
		})
		alloc = tk.AllocID
		tk.start()
		tasks = append(tasks, tk)
	}
	tasks[0].writeAllocFile("now")
	for _, tk := range tasks {
		res := tk.wait()
		must.ErrorContains(t, res.Err, "Liveness check failed 2 times in a row: "+tk.Name+" ")
		must.Eq(t, 0, res.ExitCode, must.Sprint(tk.Name))
	}
}

// TestRunsc_Exec checks input, a terminal with its size, and that a command ends with its client.
func TestRunsc_Exec(t *testing.T) {
	n := newGvisorNode(t, nil)
	tk := n.newTask("", "idle", inGvisor(sh("exec sleep infinity")), alone)
	tk.start()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	c := newClient(ctx)
	done := make(chan error, 1)
	go func() { done <- tk.stream(c, false, "/bin/sh", "-c", "cat; exit 4") }()
	c.send <- stdin("some input")
	c.send <- &drivers.ExecTaskStreamingRequestMsg{Stdin: &proto.ExecTaskStreamingIOOperation{Close: true}}
	must.NoError(t, <-done)
	must.Eq(t, "some input", c.stdout.String())
	must.Eq(t, 4, c.code)

	c = newClient(ctx)
	go c.sendResizes(1)
	must.NoError(t, tk.stream(c, true, "/bin/sh", "-c", "test -t 0 && test -t 1 && echo terminal"))
	must.StrContains(t, c.stdout.String(), "terminal")

	for _, tty := range []bool{false, true} {
		leaving, leave := context.WithCancel(ctx)
		tk.checkEndsWith(newClient(leaving), tty, leave)
	}
}

// TestRunsc_Stats checks that a task's usage arrives.
func TestRunsc_Stats(t *testing.T) {
	n := newGvisorNode(t, nil)
	tk := n.newTask("", "busy", inGvisor(sh("while :; do :; done")), alone)
	tk.start()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	stats, err := n.TaskStats(ctx, tk.ID, 50*time.Millisecond)
	must.NoError(t, err)
	n.waitFor("usage", func() bool {
		s := <-stats
		return s.ResourceUsage.CpuStats.Percent > 10 && s.ResourceUsage.MemoryStats.Usage > 1<<20
	})
}

// TestRunsc_NetworkNamespace checks that a sandbox has the network of its group, also when it is
// created again, and that the namespace has its addresses again afterwards.
func TestRunsc_NetworkNamespace(t *testing.T) {
	n := newGvisorNode(t, func(c *driver.PluginConfig) { c.PodLinger = "3s" })
	path := networkNamespace(t)
	ip := func(args ...string) string {
		out, err := exec.Command("ip", args...).CombinedOutput()
		must.NoError(t, err, must.Sprint(string(out)))
		return string(out)
	}
	name := filepath.Base(path)
	ip("link", "add", "gvtest0", "type", "veth", "peer", "name", "eth0", "netns", name)
	ip("addr", "add", "10.213.7.1/24", "dev", "gvtest0")
	ip("link", "set", "gvtest0", "up")
	ip("-n", name, "addr", "add", "10.213.7.2/24", "dev", "eth0")
	ip("-n", name, "link", "set", "lo", "up")
	ip("-n", name, "link", "set", "eth0", "up")
	ip("-n", name, "route", "add", "default", "via", "10.213.7.1")
	inGroup := func(c *drivers.TaskConfig) {
		c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: path}
	}
	before := ip("-n", name, "-4", "addr", "show", "eth0") + ip("-n", name, "-4", "route")
	server := strings.ReplaceAll(httpServer(8080), "127.0.0.1", "0.0.0.0")
	alloc := ""
	for _, end := range []func(*task){
		func(app *task) { must.NoError(t, unix.Kill(app.sandboxOf(), unix.SIGKILL)); app.wait() },
		func(app *task) { must.NoError(t, n.StopTask(app.ID, maxWait, "SIGKILL")) },
	} {
		app := n.newTask(alloc, "app", inGvisor(sh(server+"wait")), inGroup)
		alloc = app.AllocID
		app.start()
		n.waitFor("an answer from the sandbox", func() bool {
			out, _ := exec.Command("curl", "-s", "-m", "2", "http://10.213.7.2:8080/").Output()
			return string(out) == "hello\n"
		})
		end(app)
		must.NoError(t, n.DestroyTask(app.ID, true))
		// Nomad removes the network next, however long the pod remains.
		must.Eq(t, before, ip("-n", name, "-4", "addr", "show", "eth0")+ip("-n", name, "-4", "route"))
	}
	failing := n.newTask(alloc, "app", inGvisor(driver.TaskConfig{Command: "/not/there"}), inGroup)
	n.startError(failing)
	must.Eq(t, before, ip("-n", name, "-4", "addr", "show", "eth0")+ip("-n", name, "-4", "route"))
}

// TestRunsc_Unusable checks that a runsc that does not work is reported and refuses only the tasks
// that name it.
func TestRunsc_Unusable(t *testing.T) {
	matrix.GvisorRuntime(t)
	broken := filepath.Join(t.TempDir(), "runsc")
	must.NoError(t, os.WriteFile(broken, []byte("#!/bin/sh\nif [ \"$1\" = --version ]; then echo runsc version 1; exit; fi\nexit 1\n"), 0o755))
	for path, want := range map[string]string{
		broken:         broken + " (version 1) cannot create a sandbox here: runsc run ",
		broken + ".no": broken + ".no from the plugin's config cannot be executed",
	} {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtimes.Runsc = &driver.RunscConfig{Path: path} })
		fp := n.fingerprint()
		must.Eq(t, drivers.HealthStateHealthy, fp.Health)
		must.StrContains(t, fp.HealthDescription, `runtime = "runsc" is refused: `+want)
		supported, _ := fp.Attributes["driver.pod.runtime.runsc"].GetBool()
		must.False(t, supported)
		err := n.startError(n.newTask("", "app", inGvisor(sh("true")), alone))
		must.ErrorContains(t, err, `runtime = "runsc": `+want)
		must.True(t, structs.IsRecoverable(err), must.Sprint("the operator may repair it"))
		n.checkStarts(sh("true"))
	}
}

// TestRunsc_Replaced checks that fingerprints and starts follow changes of runsc's file, and that
// output of another program is not in the attributes.
func TestRunsc_Replaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runsc")
	good := func() { // a link, since the program is large
		must.NoError(t, os.Symlink(matrix.GvisorRuntime(t), path+".new"))
		must.NoError(t, os.Rename(path+".new", path))
	}
	good()
	n := newNode(t, func(c *driver.PluginConfig) { c.Runtimes.Runsc = &driver.RunscConfig{Path: path} })
	tk := n.newTask("", "app", inGvisor(sh("exit 7")), alone)
	works := func() {
		t.Helper()
		fp := n.fingerprint()
		supported, _ := fp.Attributes["driver.pod.runtime.runsc"].GetBool()
		must.True(t, supported, must.Sprint(fp.HealthDescription))
	}
	works()
	for name, harm := range map[string]func() error{
		"is not runsc: --version printed \"garbage\\x1b[31m\"": func() error {
			return os.WriteFile(path, []byte("#!/bin/sh\nprintf 'garbage\\033[31m\\n'\n"), 0o755)
		},
		"cannot be executed": func() error { return nil },
	} {
		must.NoError(t, os.Remove(path))
		must.NoError(t, harm())
		fp := n.fingerprint()
		must.Eq(t, drivers.HealthStateHealthy, fp.Health)
		must.StrContains(t, fp.HealthDescription, name)
		supported, _ := fp.Attributes["driver.pod.runtime.runsc"].GetBool()
		must.False(t, supported)
		version, _ := fp.Attributes["driver.pod.runtime.runsc.version"].GetString()
		must.Eq(t, "", version)
		err := n.startError(tk)
		must.ErrorContains(t, err, name)
		must.True(t, structs.IsRecoverable(err))
		must.NoError(t, os.RemoveAll(path))
		good()
		works()
	}
	must.NoError(t, os.Remove(path))
	must.Error(t, n.startError(tk)) // without a fingerprint in between
	good()
	tk.start()
	must.Eq(t, 7, tk.wait().ExitCode)
}

// TestRunsc_Contradiction checks that the tasks of a pod must agree.
func TestRunsc_Contradiction(t *testing.T) {
	n := newGvisorNode(t, nil)
	named := sh("true")
	named.Runtime, _ = n.fingerprint().Attributes["driver.pod.runtime"].GetString()
	for want, tc := range map[string]struct{ first, second driver.TaskConfig }{
		`runtime = "runsc", but other tasks of the pod do not have it`:                      {sh("sleep infinity"), inGvisor(sh("true"))},
		`the task has no runtime, but other tasks of the pod have "runsc"`:                  {inGvisor(sh("sleep infinity")), sh("true")},
		fmt.Sprintf(`runtime = %q, but other tasks of the pod have "runsc"`, named.Runtime): {inGvisor(sh("sleep infinity")), named},
	} {
		tk := n.newTask("", "first", tc.first, alone)
		tk.start()
		err := n.startError(n.newTask(tk.AllocID, "second", tc.second, alone))
		must.ErrorContains(t, err, want+"; set the same in all tasks of the group")
		must.False(t, structs.IsRecoverable(err))
	}
}

// TestRunsc_ForkBomb checks that processes of a sandbox are limited on the host, and that the task
// can be stopped.
func TestRunsc_ForkBomb(t *testing.T) {
	n := newGvisorNode(t, nil)
	config := inGvisor(sh("bomb() { bomb | bomb & }; bomb; sleep infinity"))
	config.PidsLimit = 20
	app := n.newTask("", "app", config, alone)
	app.start()
	limit := filepath.Join("/sys/fs/cgroup/pids/nomad-driver-pod", app.AllocID, "holder/pids.max")
	if _, err := os.Stat(limit); err != nil {
		limit = filepath.Join("/sys/fs/cgroup/nomad-driver-pod", app.AllocID, "holder/pids.max")
	}
	b, err := os.ReadFile(limit)
	must.NoError(t, err)
	must.Eq(t, "532\n", string(b))
	must.NoError(t, n.StopTask(app.ID, 100*time.Millisecond, "SIGTERM"))
	must.NoError(t, n.DestroyTask(app.ID, true))
}

// TestRunsc_Labels checks that labels of a task do not reach runsc as annotations of its own.
func TestRunsc_Labels(t *testing.T) {
	n := newGvisorNode(t, nil)
	config := inGvisor(sh("sleep infinity"))
	config.Labels = map[string]string{
		"io.kubernetes.cri.container-type": "sandbox", "dev.gvisor.flag.network": "host",
	}
	app := n.newTask("", "app", config, alone)
	app.start()
	found, err := filepath.Glob(filepath.Join(n.config.RunDir, "pods", app.AllocID, "tasks/*/config.json"))
	must.NoError(t, err)
	must.Len(t, 1, found)
	b, err := os.ReadFile(found[0])
	must.NoError(t, err)
	var spec specs.Spec
	must.NoError(t, json.Unmarshal(b, &spec))
	must.Eq(t, "container", spec.Annotations["io.kubernetes.cri.container-type"])
	must.Eq(t, app.AllocID+".pod", spec.Annotations["io.kubernetes.cri.sandbox-id"])
	for name := range spec.Annotations {
		must.StrNotHasPrefix(t, "dev.gvisor", name)
	}
}
