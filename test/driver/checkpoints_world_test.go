package driver_test

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
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// world is a node without Nomad: the directories that one manager after the
// other works in, here or in a child of this process.
type world struct {
	Dir             string
	Runtime, Conmon string
	Cgroups         cgroup.Version
	Image           string // reference
	Alloc           string // of the task that is played with
	Plain           bool   // it has no image
	NoOverlay       bool   // nor can its root be one
	Enlarges        bool   // it asks for more shared memory than its pod has
	Dying           bool   // its liveness check fails
	Company         []companion
}

// companion is a task that must not be touched by what happens to others.
type companion struct {
	Alloc string
	Init  process.Identity
}

func newWorld(t *testing.T, runtime string) *world {
	t.Helper()
	conmon, err := exec.LookPath("conmon")
	must.NoError(t, err)
	v, err := cgroup.Detect()
	must.NoError(t, err)
	w := &world{Dir: t.TempDir(), Runtime: runtime, Conmon: conmon, Cgroups: v, Alloc: uuid.Generate()}
	must.NoError(t, os.MkdirAll(filepath.Join(w.Dir, "alloc/logs"), 0o755))
	w.Image = testimage.Layout(t, filepath.Join(w.Dir, "layout"), testimage.New(t))
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.Dir, name) }

func (w *world) config() pod.Config {
	c := pod.Config{
		RunDir: w.path("run"), DataDir: w.path("data"), Init: testimage.Program, Cgroups: w.Cgroups,
		Runtime: ociruntime.Runtime{Path: w.Runtime, StateDir: w.path("run/runtime")},
		Monitor: ociruntime.Monitor{Path: w.Conmon},
		Images:  image.Config{Root: w.path("data/images"), RunRoot: w.path("run/images")},
		Log:     hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error}),
	}
	if w.NoOverlay {
		c.DataDir = w.path("no,overlay") // a comma can not be in a mount's options
	}
	for _, dir := range []string{"/bin", "/lib", "/lib64", "/usr", "/etc/passwd", "/etc/group"} {
		if _, err := os.Stat(dir); err == nil {
			c.HostPaths = append(c.HostPaths, pod.HostPath{HostPath: dir, TaskPath: dir})
		}
	}
	return c
}

func (w *world) reference() (image.Reference, error) {
	ref, err := image.ParseReference(w.Image)
	if err != nil {
		return ref, err
	}
	return image.AllowedPaths{Paths: []string{w.Dir}}.Locate(ref)
}

// task is one that has as much as a task can have.
func (w *world) task() pod.Task {
	t := w.plainTask(w.Alloc, "app")
	t.Ready = &pod.Ready{Check: pod.Check{File: "/proc/1"}, Interval: time.Millisecond, Timeout: maxWait}
	t.Live = &pod.Live{Check: t.Ready.Check, Interval: time.Hour, Timeout: maxWait, Failures: 1}
	t.Kill.Timeout = maxWait
	if w.Dying {
		t.Live.File, t.Live.Interval = "/never", time.Millisecond
	}
	if w.Enlarges {
		t.ShmSizeBytes = w.sharedMemory() + 1<<20
	}
	if w.Plain {
		heard := ocispec.Bind(w.path("alloc"), "/heard", false)
		heard.Options[len(heard.Options)-1] = "rslave"
		t.Mounts = []ocispec.Mount{heard}
		return t
	}
	ref, err := w.reference()
	if err != nil {
		panic(err) // it was made above
	}
	t.Image = &pod.Image{Reference: ref, Pull: image.PullOptions{Policy: image.PullAlways}}
	t.ImageMounts = []pod.ImageMount{{Image: *t.Image, Subpath: "init", Target: "/etc/model"}}
	t.Process.Command = []string{"-P"}
	t.ShmSizeBytes = 128 << 20
	t.Logs = &pod.Logs{AllocDirHostPath: w.path("alloc"), Dir: "logs", MaxFiles: 2, MaxFileBytes: 1 << 20}
	t.Files = []pod.File{{Target: "/etc/hosts", Content: []byte("127.0.0.1 localhost\n")}}
	t.Volumes = []pod.Volume{{Name: "shared", Target: "/shared", SizeBytes: 1 << 20}}
	t.UntrustedBinds = []pod.UntrustedBind{{DirHostPath: w.path("alloc"), Name: ".", Target: "/alloc"}}
	t.PreStop = &pod.PreStop{Args: []string{"/init", "--version"}, Timeout: maxWait}
	return t
}

// sharedMemory returns the size of the pod's shared memory in bytes, or 0.
func (w *world) sharedMemory() int64 {
	var stat unix.Statfs_t
	if err := unix.Statfs(w.path("run/pods/"+w.Alloc+"/shm"), &stat); err != nil || stat.Type != unix.TMPFS_MAGIC {
		return 0
	}
	return int64(stat.Blocks) * stat.Bsize
}

func (w *world) plainTask(alloc, name string) pod.Task {
	return pod.Task{
		ID: alloc + "/" + name + "/1", AllocID: alloc, Name: name, Hostname: "steps",
		Share: pod.Share{IPC: true, UTS: true, PID: true}, CgroupPath: "/nomad/" + alloc + "." + name,
		Process: pod.Process{Command: []string{"/bin/sh", "-c", "exec sleep infinity"}},
	}
}

// accompany starts a companion, and leaves it alone.
func (w *world) accompany(t *testing.T, alloc string) {
	t.Helper()
	m := pod.New(w.config())
	c, err := m.Start(t.Context(), w.plainTask(alloc, "other"))
	must.NoError(t, err)
	id, err := process.Identify(c.Info().PID)
	must.NoError(t, err)
	must.NoError(t, m.Close())
	w.Company = append(w.Company, companion{alloc, id})
	t.Cleanup(func() {
		m := pod.New(w.config())
		c, err := m.Recover(context.Background(), alloc, "other", alloc+"/other/1")
		must.NoError(t, err)
		must.NoError(t, c.Destroy(context.Background(), true))
		w.awaitEnd(alloc, func() bool { return false })
		must.NoError(t, m.Close())
	})
}

// untouched recovers the companions, and fails where one is not what it was.
func (w *world) untouched(ctx context.Context, m *pod.Manager) error {
	for _, other := range w.Company {
		c, err := m.Recover(ctx, other.Alloc, "other", other.Alloc+"/other/1")
		if err != nil {
			return fmt.Errorf("another task: %w", err)
		}
		if exit, ended := c.Exit(); ended || !other.Init.Alive() || c.Info().PID != other.Init.PID {
			return fmt.Errorf("another task ended: %v", exit)
		}
		script := "test $(hostname) = steps && kill -0 1 2>/dev/null || test -d /proc/1"
		code, err := c.Exec(ctx, []string{"/bin/sh", "-c", script}, ociruntime.ExecOptions{})
		if err != nil || code != 0 {
			return fmt.Errorf("another task does not work: exit code %d, %w", code, err)
		}
	}
	return nil
}

// awaitEnd waits until a pod is gone, or is not going to be.
func (w *world) awaitEnd(alloc string, failed func() bool) {
	w.awaitNone(filepath.Join("run/pods", alloc), failed)
}

func (w *world) awaitNone(pattern string, failed func() bool) {
	deadline := time.Now().Add(maxWait)
	for !failed() && time.Now().Before(deadline) {
		if found, _ := filepath.Glob(w.path(pattern)); len(found) == 0 {
			return
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// childEnv has a child of this binary play a scenario.
const childEnv = "POD_TEST_PLAY"

type childPlay struct {
	World    *world
	Scenario string
	KillAt   string
}

// playChild plays what a parent asks for and kills this process at a step. It
// says false where this is not a child.
func playChild() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	var p childPlay
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	s := crashScenarioOf(p.Scenario)
	err := s.play(p.World, func(step string) error {
		if step == p.KillAt {
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

// killAt plays a scenario in a child that is killed at a step, and gives what
// it had begun and done.
func (w *world) killAt(t *testing.T, s crashScenario, step string) []string {
	t.Helper()
	text, err := json.Marshal(childPlay{w, s.name, step})
	must.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*maxWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var said, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &errs
	cmd.WaitDelay = time.Second // what it has left may hold these open
	_ = cmd.Run()               // how it ended is what counts
	must.NoError(t, ctx.Err(), must.Sprintf("it hung: %s%s", said.String(), errs.String()))
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	must.True(t, ok && status.Signal() == syscall.SIGKILL,
		must.Sprintf("it was not killed at %q but ended: %v\n%s%s", step, cmd.ProcessState, said.String(), errs.String()))
	var lines []string
	for in := bufio.NewScanner(strings.NewReader(said.String())); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}

// startAgain starts a task with the id of one whose start was killed. The kernel closes the pipes of
// a killed process before it ends the processes that are to die with it, so that the monitor of the
// killed start may still create the container, as soon as there is a bundle. A start that fails for
// that removes the container. Nomad never uses an id twice.
func (w *world) startAgain(ctx context.Context, m *pod.Manager, t pod.Task) (*pod.Container, error) {
	c, err := m.Start(ctx, t)
	if err != nil && strings.Contains(err.Error(), "already exists") {
		return m.Start(ctx, t)
	}
	return c, err
}

// mend does what Nomad does when its plugin has died and is there again:
// recovers the tasks whose start it was told of, repeats what was cut off,
// and ends what it had begun to end.
func (w *world) mend(ctx context.Context, journal []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	m := pod.New(w.config())
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := w.untouched(ctx, m); err != nil {
		return err
	}
	has := func(line string) bool { return slices.Contains(journal, line) }
	t := w.task()
	c, err := m.Recover(ctx, t.AllocID, t.Name, t.ID)
	switch {
	case has("start done") && !has("destroy begun"):
		if err != nil {
			return fmt.Errorf("a task that was started: %w", err)
		}
		if exit, ended := c.Exit(); ended && !has("stop begun") && !w.Dying {
			return fmt.Errorf("a task that was started ended: %s", exit)
		}
	case err != nil && !errors.Is(err, pod.ErrNotFound):
		return fmt.Errorf("recover: %w", err)
	}
	if err != nil {
		if c, err = w.startAgain(ctx, m, t); err != nil {
			return fmt.Errorf("start with the same id: %w", err)
		}
	}
	if err := c.Stop(ctx, 0, maxWait); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := c.Destroy(ctx, false); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	if !slices.ContainsFunc(w.Company, func(c companion) bool { return c.Alloc == w.Alloc }) {
		w.awaitEnd(w.Alloc, func() bool { return false })
		if _, err := os.Stat(w.path("run/pods/" + w.Alloc)); !errors.Is(err, os.ErrNotExist) {
			return errors.New("the pod was not removed after its last task")
		}
	}
	return w.untouched(ctx, m)
}
