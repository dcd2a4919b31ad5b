package pod_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// podEnv contains the directories and programs of a node, but no Nomad. Managers use it one after
// the other, in this process or in a child.
type podEnv struct {
	Dir             string
	Runtime, Conmon string
	Cgroups         cgroup.Version
	Image           string // reference
	Alloc           string // of the task under test
	NoImage         bool   // the task has no image
	NoOverlay       bool   // its root cannot be an overlay
	EnlargesShm     bool   // it requests more shared memory than its pod has
	FailsLiveness   bool   // its liveness check fails
	Userns          bool   // all pods have user namespaces of their own
	Gvisor          string // path of runsc, if all pods are in gVisor
	Companions      []companion
}

// companion is another task, which must not be affected.
type companion struct {
	Alloc string
	Init  process.Identity
}

func newPodEnv(t *testing.T, runtime string) *podEnv {
	t.Helper()
	conmon, err := exec.LookPath("conmon")
	must.NoError(t, err)
	v, err := cgroup.Detect()
	must.NoError(t, err)
	e := &podEnv{Dir: t.TempDir(), Runtime: runtime, Conmon: conmon, Cgroups: v, Alloc: uuid.Generate()}
	must.NoError(t, os.MkdirAll(filepath.Join(e.Dir, "alloc/logs"), 0o755))
	e.Image = testimage.Layout(t, filepath.Join(e.Dir, "layout"), testimage.New(t))
	return e
}

func (e *podEnv) path(name string) string { return filepath.Join(e.Dir, name) }

func (e *podEnv) config() pod.Config {
	c := pod.Config{
		RunDir: e.path("run"), DataDir: e.path("data"), Init: testimage.Program, Cgroups: e.Cgroups,
		Runtime: ociruntime.Runtime{Path: e.Runtime, StateDir: e.path("run/runtime")},
		Monitor: ociruntime.Monitor{Path: e.Conmon},
		Images:  image.Config{Root: e.path("data/images"), RunRoot: e.path("run/images")},
		Log:     hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error}),
	}
	if e.Userns {
		c.IDs = userns.Pool{First: 0x70000000, Count: 3 * userns.Size}
	}
	if e.Gvisor != "" {
		c.Gvisor = &ociruntime.Runtime{Path: e.Gvisor, StateDir: e.path("run/runsc"), Gvisor: true}
	}
	if e.NoOverlay {
		c.DataDir = e.path("no,overlay") // mount options cannot contain a comma
	}
	for _, dir := range []string{"/bin", "/lib", "/lib64", "/usr", "/etc/passwd", "/etc/group"} {
		if _, err := os.Stat(dir); err == nil {
			c.HostPaths = append(c.HostPaths, pod.HostPath{HostPath: dir, TaskPath: dir})
		}
	}
	return c
}

func (e *podEnv) reference() (image.Reference, error) {
	ref, err := image.ParseReference(e.Image)
	if err != nil {
		return ref, err
	}
	return image.AllowedPaths{Paths: []string{e.Dir}}.Locate(ref)
}

// task returns the task under test. Unless NoImage is set, it uses every feature.
func (e *podEnv) task() pod.Task {
	t := e.plainTask(e.Alloc, "app")
	t.Ready = &pod.Ready{Check: pod.Check{File: "/proc/1"}, Interval: time.Millisecond, Timeout: maxWait}
	t.Live = &pod.Live{Check: t.Ready.Check, Interval: time.Hour, Timeout: maxWait, Failures: 1}
	t.Kill.Timeout = maxWait
	if e.FailsLiveness {
		t.Live.File, t.Live.Interval = "/never", time.Millisecond
	}
	if e.EnlargesShm {
		t.ShmSizeBytes = e.sharedMemory() + 1<<20
	}
	if e.NoImage {
		propagated := ocispec.Bind(e.path("alloc"), "/propagated", false)
		propagated.Options[len(propagated.Options)-1] = "rslave"
		t.Mounts = []ocispec.Mount{propagated}
		return t
	}
	ref, err := e.reference()
	if err != nil {
		panic(err) // newPodEnv created it
	}
	t.Image = &pod.Image{Reference: ref, Pull: image.PullOptions{Policy: image.PullAlways}}
	t.ImageMounts = []pod.ImageMount{{Image: *t.Image, Subpath: "init", Target: "/etc/model"}}
	t.Process.Command = []string{"-P"}
	t.ShmSizeBytes = 128 << 20
	t.Logs = &pod.Logs{AllocDirHostPath: e.path("alloc"), Dir: "logs", MaxFiles: 2, MaxFileBytes: 1 << 20}
	t.Files = []pod.File{{Target: "/etc/hosts", Content: []byte("127.0.0.1 localhost\n")}}
	t.Volumes = []pod.Volume{{Name: "shared", Target: "/shared", SizeBytes: 1 << 20}}
	t.UntrustedBinds = []pod.UntrustedBind{{DirHostPath: e.path("alloc"), Name: ".", Target: "/alloc"}}
	t.PreStop = &pod.PreStop{Args: []string{"/init", "--version"}, Timeout: maxWait}
	if e.Gvisor != "" {
		t.Ready.File, t.Live.File = "/alloc", "/alloc"
	}
	return t
}

// sharedMemory returns the size of the pod's shared memory in bytes, or 0.
func (e *podEnv) sharedMemory() int64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(e.path("run/pods/"+e.Alloc+"/shm"), &stat); err != nil || stat.Type != unix.TMPFS_MAGIC {
		return 0
	}
	return int64(stat.Blocks) * stat.Bsize
}

func (e *podEnv) plainTask(alloc, name string) pod.Task {
	t := pod.Task{
		ID: alloc + "/" + name + "/1", AllocID: alloc, Name: name, Hostname: "steps", Userns: e.Userns,
		Share: pod.Share{IPC: true, UTS: true, PID: true}, CgroupPath: "/nomad/" + alloc + "." + name,
		Process: pod.Process{Command: []string{"/bin/sh", "-c", "exec sleep infinity"}},
	}
	if e.Gvisor != "" {
		t.Gvisor, t.Network.None = true, true
	}
	return t
}

// startCompanion starts a companion, and destroys it after the test.
func (e *podEnv) startCompanion(t *testing.T, alloc string) {
	t.Helper()
	m := pod.New(e.config())
	c, err := m.Start(t.Context(), e.plainTask(alloc, "other"))
	must.NoError(t, err)
	id, err := process.Identify(c.Info().PID)
	must.NoError(t, err)
	must.NoError(t, m.Close())
	e.Companions = append(e.Companions, companion{alloc, id})
	t.Cleanup(func() {
		m := pod.New(e.config())
		c, err := m.Recover(context.Background(), alloc, "other", alloc+"/other/1")
		must.NoError(t, err)
		must.NoError(t, c.Destroy(context.Background(), true))
		e.awaitEnd(alloc, func() bool { return false })
		must.NoError(t, m.Close())
	})
}

// checkCompanions recovers the companions and checks that they are unchanged and work.
func (e *podEnv) checkCompanions(ctx context.Context, m *pod.Manager) error {
	for _, other := range e.Companions {
		c, err := m.Recover(ctx, other.Alloc, "other", other.Alloc+"/other/1")
		if err != nil {
			return fmt.Errorf("recover a companion: %w", err)
		}
		if exit, ended := c.Exit(); ended || !other.Init.Alive() || c.Info().PID != other.Init.PID {
			return fmt.Errorf("companion has ended: %v", exit)
		}
		script := "test $(hostname) = steps && kill -0 1 2>/dev/null || test -d /proc/1"
		code, err := c.Exec(ctx, []string{"/bin/sh", "-c", script}, ociruntime.ExecOptions{})
		if err != nil || code != 0 {
			return fmt.Errorf("command in a companion: exit code %d, %w", code, err)
		}
	}
	return nil
}

// awaitEnd waits until a pod is removed or failed returns true.
func (e *podEnv) awaitEnd(alloc string, failed func() bool) {
	e.awaitNone(filepath.Join("run/pods", alloc), failed)
}

func (e *podEnv) awaitNone(pattern string, failed func() bool) {
	deadline := time.Now().Add(maxWait)
	for !failed() && time.Now().Before(deadline) {
		if found, _ := filepath.Glob(e.path(pattern)); len(found) == 0 {
			return
		}
		time.Sleep(time.Millisecond) // poll interval
	}
}

// childEnv contains the childRun that a child of this binary executes.
const childEnv = "POD_TEST_PLAY"

type childRun struct {
	Env      *podEnv
	Scenario string
	KillAt   string
}

// runChild runs a scenario and kills this process at a checkpoint, if childEnv is set. Otherwise it
// returns false.
func runChild() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	var p childRun
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	s := crashScenarioOf(p.Scenario)
	err := s.run(p.Env, func(checkpoint string) error {
		if checkpoint == p.KillAt {
			return unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		return nil
	}, func(line string) { fmt.Println(line) })
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	return true
}

// killAt runs a scenario in a child that is killed at a checkpoint and returns the child's reports.
func (e *podEnv) killAt(t *testing.T, s crashScenario, checkpoint string) []string {
	t.Helper()
	text, err := json.Marshal(childRun{e, s.name, checkpoint})
	must.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*maxWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // its children may hold the pipes open
	_ = cmd.Run()               // the wait status is checked below
	must.NoError(t, ctx.Err(), must.Sprintf("child hung: %s%s", stdout.String(), stderr.String()))
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	must.True(t, ok && status.Signal() == syscall.SIGKILL,
		must.Sprintf("child was not killed at %q: %v\n%s%s", checkpoint, cmd.ProcessState, stdout.String(), stderr.String()))
	var lines []string
	for in := bufio.NewScanner(strings.NewReader(stdout.String())); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}

// startAgain starts a task with the ID of one whose start was killed. Nomad never reuses an ID. The
// kernel closes the pipes of a killed process before it kills the children with a parent-death
// signal, so the monitor of the killed start may still create the container. Starts fail until it is
// gone, and the last of them removes the container.
func (e *podEnv) startAgain(ctx context.Context, m *pod.Manager, t pod.Task) (*pod.Container, error) {
	const maxStarts = 5
	for n := 1; ; n++ {
		c, err := m.Start(ctx, t)
		if err == nil || n == maxStarts || !isRace(err) {
			return c, err
		}
	}
}

// isRace reports whether a start failed because another monitor created or removed the container at
// the same time.
func isRace(err error) bool {
	return strings.Contains(err.Error(), "already exists") || strings.Contains(err.Error(), "sync socket")
}

// recoverAndRemove does what Nomad does after its plugin was killed: it recovers the tasks that
// were started, repeats the interrupted actions, and removes the task. The journal contains the
// reports of the killed run.
func (e *podEnv) recoverAndRemove(ctx context.Context, journal []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	m := pod.New(e.config())
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := e.checkCompanions(ctx, m); err != nil {
		return err
	}
	has := func(line string) bool { return slices.Contains(journal, line) }
	t := e.task()
	c, err := m.Recover(ctx, t.AllocID, t.Name, t.ID)
	switch {
	case has("start done") && !has("destroy begun"):
		if err != nil {
			return fmt.Errorf("recover a started task: %w", err)
		}
		if exit, ended := c.Exit(); ended && !has("stop begun") && !e.FailsLiveness {
			return fmt.Errorf("started task has ended: %s", exit)
		}
	case err != nil && !errors.Is(err, pod.ErrNotFound):
		return fmt.Errorf("recover: %w", err)
	}
	if err != nil {
		if c, err = e.startAgain(ctx, m, t); err != nil {
			return fmt.Errorf("start with the same id: %w", err)
		}
	}
	if err := c.Stop(ctx, 0, maxWait); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := c.Destroy(ctx, false); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	if !slices.ContainsFunc(e.Companions, func(c companion) bool { return c.Alloc == e.Alloc }) {
		e.awaitEnd(e.Alloc, func() bool { return false })
		if _, err := os.Stat(e.path("run/pods/" + e.Alloc)); !errors.Is(err, os.ErrNotExist) {
			return errors.New("the pod was not removed after its last task")
		}
	}
	return e.checkCompanions(ctx, m)
}
