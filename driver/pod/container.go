package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// Container is a started task. It is running, or has ended and was not destroyed yet.
type Container struct {
	m     *Manager
	pod   *pod
	id    string
	dir   string // bundle, and the files of conmon and the runtime
	state taskState
	// damage is the error because of which state does not come from the task's state file.
	damage error

	stateMu sync.Mutex // guards the fields of state that change after the start, and their writes
	attempt *attempt   // of the liveness check, or nil; guarded by m.liveness.mu

	sibling   *sibling
	stopwatch stopwatch // of the start
	mistake   error     // a configuration error that explains a failed start, or nil
	initHint  string    // why an init system is likely to fail in this task, or ""
	logs      *Logs     // nil if the log collector does not collect this task's output, or after a recovery

	output  *logs.HeldFIFOs // nil if the log collector does not collect this task's output
	drained bool

	handles       sync.Mutex
	init, monitor *process.Handle // nil once ended

	oom struct { // OOM kills not accounted for yet
		sync.Mutex // guards state.OOMKills as well
		kills      uint64
		seen       time.Time
	}

	debugs int // running debug containers; guarded by m.mu

	done chan struct{} // closed when exit is set
	exit Exit

	teardown sync.Mutex // one Destroy at a time
	gone     bool
}

// Info describes a container, apart from its exit.
type Info struct {
	TaskID, AllocID, Name string
	ContainerID           string
	PID                   int // of the first process, in the host's PID namespace
	ImageID, ImageDigest  string
	StartedAt             time.Time
}

func (c *Container) stateFile() string { return filepath.Join(c.dir, "task.json") }

func (c *Container) event(message string) {
	c.m.cfg.Event(c.state.TaskID, c.state.AllocID, c.state.Name, message)
}

// Info returns properties that do not change during the container's life.
func (c *Container) Info() Info {
	return Info{
		TaskID: c.state.TaskID, AllocID: c.state.AllocID, Name: c.state.Name, ContainerID: c.id,
		PID: c.state.Init.PID, ImageID: c.state.ImageID, ImageDigest: c.state.Digest,
		StartedAt: c.state.StartedAt,
	}
}

// Done is closed when the task has ended and Exit returns its result.
func (c *Container) Done() <-chan struct{} { return c.done }

// Exit returns how the task ended, or false while it runs.
func (c *Container) Exit() (Exit, bool) {
	select {
	case <-c.done:
		return c.exit, true
	default:
		return Exit{}, false
	}
}

// Signal sends a signal to the task's first process. It returns nil if the task
// has ended. While the task may end because of the signal, its liveness is not checked.
func (c *Container) Signal(sig unix.Signal) error {
	if c.endsPrograms(sig) {
		c.m.liveness.hold(c, c.state.Kill.Timeout)
	}
	return c.signal(sig)
}

func (c *Container) signal(sig unix.Signal) error {
	if c.state.Gvisor {
		return c.signalInSandbox(sig)
	}
	c.handles.Lock()
	defer c.handles.Unlock()
	if c.init == nil {
		return nil
	}
	if err := c.init.Signal(sig); err != nil && !errors.Is(err, process.ErrGone) {
		return err
	}
	return nil
}

// Stop sends sig, waits for the task to end, and after the timeout kills all its
// processes. Signal 0 means the image's STOPSIGNAL, or SIGTERM. It returns nil if
// the task has already ended.
func (c *Container) Stop(ctx context.Context, sig unix.Signal, timeout time.Duration) error {
	if c.noteStop() {
		return c.stop(ctx, sig, timeout)
	}
	// The driver stops the task already: a second pre_stop or signal could harm it.
	grace, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-grace.Done():
	}
	return c.Kill(ctx)
}

func (c *Container) stop(ctx context.Context, sig unix.Signal, timeout time.Duration) error {
	if sig == 0 {
		sig = c.stopSignal()
	}
	grace, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.prepareStop(grace, timeout)
	err := c.m.checkpoint("signal task", func() error { return c.signal(sig) })
	if err != nil && c.state.Gvisor { // gVisor does not know the signal, or hangs
		c.event(fmt.Sprintf("The signal to stop did not reach the task, which is killed: %v", err))
		return c.Kill(ctx)
	}
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-grace.Done():
	}
	c.explainTimeout(sig, timeout)
	return c.Kill(ctx)
}

// prepareStop waits for dependent tasks to end, then runs the task's pre_stop. Each may
// use at most half of the remaining time, so that the task has time to shut down.
func (c *Container) prepareStop(ctx context.Context, timeout time.Duration) {
	if _, ended := c.Exit(); ended {
		return
	}
	dependents, cancel := context.WithTimeout(ctx, timeout/2)
	c.awaitDependents(dependents)
	cancel()
	if p := c.state.PreStop; p != nil {
		ctx, cancel := context.WithTimeout(ctx, min(p.Timeout, timeout/2))
		defer cancel()
		if err := c.m.checkpoint("run pre_stop", func() error { return c.tryExec(ctx, p.Args) }); err != nil {
			c.event(fmt.Sprintf("pre_stop: %v", err))
		}
	}
}

// Kill kills every process of the task and waits for it to end.
func (c *Container) Kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.m.cfg.TeardownTimeout)
	defer cancel()
	if err := c.m.checkpoint("kill running task", func() error { return c.killAll(ctx) }); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("task %s did not exit after SIGKILL: %w", c.state.TaskID, ctx.Err())
	}
}

func (c *Container) stopSignal() unix.Signal {
	if sig, err := ParseSignal(c.state.StopSignal); err == nil && sig != 0 {
		return sig
	}
	return unix.SIGTERM
}

// Exec runs a program in the task with the task's environment, user and
// capabilities, and returns its exit code.
func (c *Container) Exec(ctx context.Context, args []string, o ociruntime.ExecOptions) (int, error) {
	if _, ended := c.Exit(); ended {
		return 0, fmt.Errorf("exec in task %s: the task has ended", c.state.TaskID)
	}
	if !c.state.Gvisor {
		if err := c.cpuset().CopyTo(c.cgroup()); err != nil {
			return 0, fmt.Errorf("exec in task %s: %w", c.state.TaskID, err)
		}
	}
	spec, err := readSpec(c.dir)
	if err != nil {
		return 0, err
	}
	tty := o.Process != nil && o.Process.Terminal
	o.Process = spec.Process
	o.Process.Args, o.Process.Terminal = args, tty
	o.Dir = c.dir
	if u, err := c.pod.users(); err == nil { // otherwise only /dev/stdout cannot be opened
		o.Owner = u.root()
	}
	return c.m.runtimeOf(c.dir).Exec(ctx, c.id, o)
}

// Destroy removes the task's container and files. It kills a running task if
// force is set, and returns ErrRunning otherwise.
func (c *Container) Destroy(ctx context.Context, force bool) error {
	c.teardown.Lock()
	defer c.teardown.Unlock()
	if c.gone {
		return nil
	}
	if _, ended := c.Exit(); !ended {
		if !force {
			return fmt.Errorf("task %s: %w", c.state.TaskID, ErrRunning)
		}
		c.m.liveness.drop(c)
		if err := c.Kill(ctx); err != nil {
			return err
		}
	}
	if err := c.remove(); err != nil {
		return err
	}
	if c.state.Gvisor {
		if err := c.pod.endSandbox(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	c.gone = true
	c.m.mu.Lock()
	delete(c.m.tasks, c.state.TaskID)
	c.m.mu.Unlock()
	c.pod.removeSibling(c.sibling)
	c.m.leave(c.pod)
	if len(c.storeIDs()) > 0 {
		c.m.collectImages()
	}
	return nil
}

// hold opens handles to the container's two processes. The handle of an ended
// process stays nil.
func (c *Container) hold() error {
	c.handles.Lock()
	defer c.handles.Unlock()
	var err error
	if c.init, err = process.Open(c.state.Init); err != nil && !errors.Is(err, process.ErrGone) {
		return err
	}
	if c.monitor, err = process.Open(c.state.Monitor); err != nil && !errors.Is(err, process.ErrGone) {
		return errors.Join(err, c.releaseLocked())
	}
	return nil
}

// release closes the handles.
func (c *Container) release() error {
	c.handles.Lock()
	defer c.handles.Unlock()
	return c.releaseLocked()
}

func (c *Container) releaseLocked() error {
	var errs []error
	for _, h := range []**process.Handle{&c.init, &c.monitor} {
		if *h != nil {
			errs = append(errs, (*h).Close())
			*h = nil
		}
	}
	return errors.Join(errs...)
}

func (c *Container) interrupt() error {
	c.handles.Lock()
	defer c.handles.Unlock()
	var errs []error
	for _, h := range []*process.Handle{c.init, c.monitor} {
		if h != nil {
			errs = append(errs, h.Interrupt())
		}
	}
	return errors.Join(errs...)
}

// Recover resumes management of a task that an earlier manager started. The task
// may be running or have ended unobserved. It returns ErrNotFound for an unknown
// task.
func (m *Manager) Recover(ctx context.Context, allocID, name, taskID string) (*Container, error) {
	if c, err := m.Get(taskID); err == nil {
		return c, nil
	}
	t := Task{ID: taskID, AllocID: allocID, Name: name}
	if !uuid.MatchString(allocID) {
		return nil, fmt.Errorf("%w: allocation id %q is not a UUID", ErrInvalid, allocID)
	}
	m.sweepOnce()
	p := m.enter(allocID)
	c := m.newContainer(p, t)
	if err := c.reload(); err != nil {
		m.leave(p)
		return nil, err
	}
	if err := c.attachLogs(ctx); err != nil {
		m.cfg.Log.Error("task output is not collected", "task_id", taskID, "error", err)
	}
	c.sibling.after, c.sibling.restartWith, c.sibling.partners = c.state.After, c.state.RestartWith, c.state.Partners
	c.sibling.ready, c.sibling.stopping = true, c.state.Stopping || c.state.Ending != ""
	p.addSibling(c.sibling)
	m.adopt(c)
	if c.state.Ending != "" {
		m.background.Go(c.finishEnd)
	} else {
		m.liveness.resume(c)
	}
	return c, nil
}

// reload reads the state of an earlier manager and opens handles to running processes.
func (c *Container) reload() error {
	var state taskState
	err := c.m.checkpoint("read task state", func() (err error) {
		state, err = c.pod.taskState(c.id)
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("task %s: %w", c.state.TaskID, ErrNotFound)
	}
	if errors.Is(err, errDamaged) {
		c.setDamaged(err)
		return errors.Join(fmt.Errorf("task %s was killed and removed: %w", c.state.TaskID, err), c.discard())
	}
	if err != nil {
		return err
	}
	c.state = state
	if state.ReadyAt.IsZero() {
		// The start was interrupted, and Nomad never received a task handle.
		return errors.Join(fmt.Errorf("task %s was never started: %w", state.TaskID, ErrNotFound), c.remove())
	}
	if err := c.removeDebug(); err != nil {
		c.m.cfg.Log.Error("debug container was not removed; it will be removed with the task", "task_id", state.TaskID, "error", err)
	}
	return c.m.checkpoint("hold recovered processes", c.hold)
}
