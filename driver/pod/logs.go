package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// Logs says where a task's output goes when the node's collector takes it.
type Logs struct {
	AllocDirHostPath string // trusted, unlike what is below it
	Dir              string // relative to it
	MaxFiles         int
	MaxFileBytes     int64
}

// FIFOs of a task whose output is collected, in its directory.
const (
	stdoutFIFO = "stdout"
	stderrFIFO = "stderr"
)

// logGroup is the cgroup of the collector, which serves all pods.
func logGroup(v cgroup.Version) cgroup.Group { return cgroup.At(v, cgroupParent).Child("logs") }

// Reexec does the work of a helper if this process is one, and says so: main
// must then return at once. See packages image and logs.
func Reexec() bool {
	return image.Reexec() || ociruntime.Reexec() || logs.Reexec(func() error {
		v, err := cgroup.Detect()
		if err != nil {
			return err
		}
		return errors.Join(
			cgroup.At(v, "/").Add(os.Getpid()),
			logGroup(v).Prune(), // the next collector may be in it already
			cgroup.At(v, cgroupParent).Prune(),
		)
	})
}

func (m *Manager) newLogs() *logs.Client {
	return logs.NewClient(logs.Config{
		Dir:   filepath.Join(m.cfg.RunDir, "logs"),
		Tasks: filepath.Join(literal(m.podsDir()), "*", "tasks", "*"),
		Place: func(pid int) error {
			return m.step("place log collector", func() error { return logGroup(m.cfg.Cgroups).Add(pid) })
		},
		Notice: m.logNotice,
		Broken: func(err error) { m.cfg.Log.Error("the output of tasks is not collected", "error", err) },
	})
}

// literal escapes what means something in a pattern.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// logNotice passes on what the collector has to say about a task's output.
func (m *Manager) logNotice(n logs.Notice) {
	if c := m.inDir(filepath.Dir(n.SpecPath)); c != nil {
		c.event(n.Text)
	}
}

func (m *Manager) inDir(dir string) *Container {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.tasks {
		if c.dir == dir {
			return c
		}
	}
	return nil
}

// makeLogs makes what the collector reads from. The task's StdoutHostPath and
// StderrHostPath are these FIFOs then.
func (c *Container) makeLogs(t *Task) error {
	if t.Logs == nil {
		return nil
	}
	t.StdoutHostPath, t.StderrHostPath = filepath.Join(c.dir, stdoutFIFO), filepath.Join(c.dir, stderrFIFO)
	for _, path := range []string{t.StdoutHostPath, t.StderrHostPath} {
		if err := c.m.step("make log pipe", func() error { return unix.Mkfifo(path, 0o600) }); err != nil {
			return &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
	}
	return nil
}

// openLogs opens what a task's output goes to, and lets those know who have to
// do with it.
func (c *Container) openLogs(t Task) (stdout, stderr *os.File, err error) {
	if stdout, err = openLog(t.AllocDirHostPath, t.StdoutHostPath); err != nil {
		return nil, nil, err
	}
	if stderr, err = openLog(t.AllocDirHostPath, t.StderrHostPath); err != nil {
		return nil, nil, errors.Join(err, stdout.Close())
	}
	if t.Logs != nil {
		err = c.announceLogs(t)
	} else {
		var oerr, eerr error
		c.state.Stdout, oerr = identifyPipe(stdout)
		c.state.Stderr, eerr = identifyPipe(stderr)
		err = errors.Join(oerr, eerr)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stdout.Close(), stderr.Close())
	}
	return stdout, stderr, nil
}

// openLog opens what a task's output goes to. Opened for reading as well, a
// FIFO neither blocks without a reader nor breaks when the reader dies. No link
// below the allocation's directory is followed: tasks and local users can put
// one there (CVE-2026-6959).
func openLog(allocDir, path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	// Not os.OpenFile, which makes a FIFO non-blocking, for the task as well.
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if name, below := strings.CutPrefix(path, allocDir+"/"); allocDir != "" && below {
		f, err := openat2(allocDir, name, unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		return f, nil
	}
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open log", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// announceLogs says where the content of the FIFOs goes. They must be open: a
// collector that starts just now finds them by it, and takes a FIFO without a
// writer for the end of the task's output.
func (c *Container) announceLogs(t Task) error {
	spec := logs.Spec{
		AllocDir: t.Logs.AllocDirHostPath, Dir: t.Logs.Dir, MaxFiles: t.Logs.MaxFiles, MaxBytes: t.Logs.MaxFileBytes,
		Streams: []logs.Stream{{FIFO: stdoutFIFO, Base: t.Name + ".stdout"}, {FIFO: stderrFIFO, Base: t.Name + ".stderr"}},
	}
	return c.m.step("write log spec", func() error { return logs.WriteSpec(c.dir, spec) })
}

// collected tells whether the collector has to do with this task.
func (c *Container) collected() bool {
	_, err := os.Stat(filepath.Join(c.dir, logs.SpecFile))
	return err == nil
}

// attachLogs has the task's output collected.
func (c *Container) attachLogs(ctx context.Context) (err error) {
	if !c.collected() {
		return nil
	}
	c.drained = false // what an interrupted start of the task left, was
	return c.m.step("attach logs", func() error {
		c.output, err = c.m.logs.Attach(ctx, c.dir)
		return err
	})
}

// drainLogs returns when all that the task has printed is in its files. No
// process of it may be left.
func (c *Container) drainLogs(ctx context.Context) error {
	if c.drained || !c.collected() {
		return nil
	}
	if err := c.m.step("drain logs", func() error { return c.m.logs.Drain(ctx, c.dir) }); err != nil {
		return fmt.Errorf("task %s: %w", c.state.TaskID, err)
	}
	c.drained = true
	return c.output.Close()
}
