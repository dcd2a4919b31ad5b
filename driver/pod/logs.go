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

// Logs describes how the log collector stores a task's output.
type Logs struct {
	AllocDirHostPath string // trusted, unlike the directories below it
	Dir              string // relative to AllocDirHostPath
	MaxFiles         int
	MaxFileBytes     int64
	Index            *logs.Index // nil without an index
}

// FIFOs of a collected task, in its directory.
const (
	stdoutFIFO = "stdout"
	stderrFIFO = "stderr"
)

// logGroup is the cgroup of the log collector, which serves all pods.
func logGroup(v cgroup.Version) cgroup.Group { return cgroup.At(v, cgroupParent).Child("logs") }

// Reexec runs a helper if this process was started as one, and reports whether it
// did: main must then return. See packages image and logs.
func Reexec() bool {
	return image.Reexec() || ociruntime.Reexec() || logs.Reexec(func() error {
		v, err := cgroup.Detect()
		if err != nil {
			return err
		}
		return errors.Join(
			cgroup.At(v, "/").Add(os.Getpid()),
			logGroup(v).Prune(), // the next collector may already be in it
			cgroup.At(v, cgroupParent).Prune(),
		)
	})
}

func (m *Manager) newLogs() *logs.Client {
	return logs.NewClient(logs.Config{
		Dir:   filepath.Join(m.cfg.RunDir, "logs"),
		Tasks: filepath.Join(literal(m.podsDir()), "*", "tasks", "*"),
		Place: func(pid int) error {
			return m.checkpoint("move log collector to its cgroup", func() error { return logGroup(m.cfg.Cgroups).Add(pid) })
		},
		Notice: m.logNotice,
		Broken: func(err error) { m.cfg.Log.Error("task output is not collected", "error", err) },
	})
}

// literal escapes the metacharacters of a glob pattern.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// LogCounts returns totals of the log collector, as of its last answer if it does not answer now.
// They include output that this manager dropped because Nomad's collector of a task had died.
func (m *Manager) LogCounts(ctx context.Context) logs.Counts {
	n := m.logs.Counts(ctx)
	n.Stalls += m.unread.stalls.Load()
	n.Dropped += m.unread.dropped.Load()
	return n
}

// SweepLogIndex removes entries of allocations that no longer exist from a log index. It returns
// immediately, and does nothing while an earlier sweep is running.
func (m *Manager) SweepLogIndex(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || !m.indexSweep.TryLock() {
		return
	}
	m.background.Go(func() {
		defer m.indexSweep.Unlock()
		if _, err := logs.Sweep(dir); err != nil {
			m.cfg.Log.Warn("sweep log index", "path", dir, "error", err)
		}
	})
}

// logNotice sends a notice of the log collector as an event of its task.
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

// makeLogs creates the FIFOs that the log collector reads from and sets the task's
// StdoutHostPath and StderrHostPath to them.
func (c *Container) makeLogs(t *Task) error {
	if t.Logs == nil {
		return nil
	}
	t.StdoutHostPath, t.StderrHostPath = filepath.Join(c.dir, stdoutFIFO), filepath.Join(c.dir, stderrFIFO)
	for _, path := range []string{t.StdoutHostPath, t.StderrHostPath} {
		if err := c.m.checkpoint("make log pipe", func() error { return unix.Mkfifo(path, 0o600) }); err != nil {
			return &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
	}
	return nil
}

// openLogs opens the task's output files, and announces FIFOs to the log collector
// or records them for watchPipes.
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

// openLog opens a task's output file. A FIFO opened for reading and writing neither
// blocks without a reader nor breaks when the reader dies. No symbolic link below
// the allocation's directory is followed: tasks and local users can create links
// there (CVE-2026-6959).
func openLog(allocDir, path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	// os.OpenFile would make the FIFO non-blocking, for the task as well.
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

// announceLogs records where the content of the FIFOs belongs. They must be open
// already: a collector that starts now finds them by the record, and takes a FIFO
// without a writer for the end of the output.
func (c *Container) announceLogs(t Task) error {
	spec := logs.Spec{
		AllocDir: t.Logs.AllocDirHostPath, Dir: t.Logs.Dir, MaxFiles: t.Logs.MaxFiles, MaxBytes: t.Logs.MaxFileBytes,
		Streams: []logs.Stream{{FIFO: stdoutFIFO, Base: t.Name + ".stdout"}, {FIFO: stderrFIFO, Base: t.Name + ".stderr"}},
		Index:   t.Logs.Index,
	}
	return c.m.checkpoint("write log spec", func() error { return logs.WriteSpec(c.dir, spec) })
}

// collected reports whether the log collector handles this task.
func (c *Container) collected() bool {
	_, err := os.Stat(filepath.Join(c.dir, logs.SpecFile))
	return err == nil
}

// attachLogs makes the log collector read the task's output.
func (c *Container) attachLogs(ctx context.Context) (err error) {
	if !c.collected() {
		return nil
	}
	c.drained = false // set by an interrupted start of the task
	return c.m.checkpoint("attach logs", func() error {
		c.output, err = c.m.logs.Attach(ctx, c.dir)
		return err
	})
}

// drainLogs returns when all output of the task is in its log files. All processes
// of the task must have ended.
func (c *Container) drainLogs(ctx context.Context) error {
	if c.drained || !c.collected() {
		return nil
	}
	if err := c.m.checkpoint("drain logs", func() error { return c.m.logs.Drain(ctx, c.dir) }); err != nil {
		return fmt.Errorf("task %s: %w", c.state.TaskID, err)
	}
	c.drained = true
	return c.output.Close()
}
