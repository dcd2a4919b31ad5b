package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// watch starts a goroutine that waits for the container to end and records how. It
// stops when the container ends or the manager closes.
func (c *Container) watch() {
	c.m.background.Add(1)
	init, monitor := c.init, c.monitor // release sets the fields to nil
	if monitor != nil && init != nil {
		c.m.background.Go(func() { c.watchMonitor(init, monitor) })
	}
	go func() {
		defer c.m.background.Done()
		defer func() { _ = c.release() }() // the error has no receiver
		if monitor != nil {
			err := monitor.Wait()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return // the manager closes; the task keeps running
			}
			if err != nil {
				c.m.cfg.Log.Error("wait for task monitor", "task_id", c.state.TaskID, "error", err)
			}
		}
		c.exit = c.end()
		c.m.cfg.Observer.Exited(c.exit)
		close(c.done)
		c.m.liveness.drop(c)
		c.pod.change(func(*order) { c.sibling.ended, c.sibling.endedAt = true, time.Now() })
	}()
}

// monitorGrace is how long a monitor may take to record the exit, which takes
// milliseconds.
const monitorGrace = 5 * time.Second

// watchMonitor kills a monitor that hangs after its task has ended. Otherwise the
// exit would never be noticed.
func (c *Container) watchMonitor(init, monitor *process.Handle) {
	if err := init.Wait(); err != nil {
		return // the manager closes, or the monitor has ended
	}
	grace := time.NewTimer(monitorGrace)
	defer grace.Stop()
	select {
	case <-c.done:
		return
	case <-c.m.closing:
		return
	case <-grace.C:
	}
	if err := monitor.Signal(unix.SIGKILL); err == nil {
		c.event(fmt.Sprintf("The monitor (conmon, process %d) did not record the end of the task within %s and was killed",
			monitor.Identity().PID, monitorGrace))
	}
}

// end is called after the monitor has ended. It kills the task's remaining processes
// and returns how the first process ended.
func (c *Container) end() Exit {
	ctx, cancel := context.WithTimeout(context.Background(), c.m.cfg.TeardownTimeout)
	defer cancel()
	code, at, err := c.exitStatus()
	lost := err != nil
	// In a shared PID namespace other processes survive the end of the first one,
	// and would hold the log open.
	kills, kerr := c.oomKills()
	if err := c.m.checkpoint("kill remaining processes", func() error { return c.killAll(ctx) }); err != nil {
		c.m.cfg.Log.Error("processes of an ended task are still running", "task_id", c.state.TaskID, "error", err)
	}
	if err := c.drainLogs(ctx); err != nil {
		c.m.cfg.Log.Error("log is missing some of the task's output", "error", err)
	}
	if lost {
		return c.lostExit(err)
	}
	exit := Exit{Code: code, At: at, Signal: c.signalOf(code)}
	outOfMemory := kerr == nil && c.oomKilled(kills)
	switch {
	case exit.Signal != int(unix.SIGKILL) && outOfMemory:
		c.event("Out of memory: the kernel killed a process of the task, which then ended")
	case exit.Signal == int(unix.SIGKILL) && outOfMemory:
		exit.OOMKilled = true
	case exit.Signal == int(unix.SIGKILL):
		exit.Err = c.infraLoss()
	case code != 0 && exit.Signal == 0 && at.Sub(c.state.StartedAt) < execGrace:
		exit.Err = c.execFailure()
	}
	if reason := c.endReason(); reason != nil {
		exit.Err = reason
	}
	c.explainInit(exit)
	return exit
}

// execGrace is the time in which a program that cannot be executed ends: the runtime's process
// executes it only after the start, and exits if that fails.
const execGrace = time.Second

// exitStatus reads the exit status that the monitor recorded. If the monitor could
// not write it because run_dir is full, the kernel may still have it (pidfds, Linux
// 6.15).
func (c *Container) exitStatus() (code int, at time.Time, err error) {
	code, at, err = ociruntime.ExitStatus(c.dir)
	if err == nil || c.init == nil {
		return code, at, err
	}
	ws, kerr := c.init.Status()
	if kerr != nil {
		return 0, at, errors.Join(err, full(c.dir))
	}
	if ws.Signaled() {
		return signalBase + int(ws.Signal()), time.Now(), nil
	}
	return ws.ExitStatus(), time.Now(), nil
}

// full returns an error if the file system at path is full.
func full(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && (st.Bavail == 0 || st.Files > 0 && st.Ffree == 0) {
		return fmt.Errorf("%s: %w", path, unix.ENOSPC)
	}
	return nil
}

// signalBase is added to a signal number by shells.
const signalBase = 128

// signalOf distinguishes a signal from an exit code above 128. If the kernel does
// not report it, the code is treated as a signal, as shells do.
func (c *Container) signalOf(code int) int {
	if c.init != nil && !c.state.Gvisor { // the runtime reports a signal as an exit code
		if ws, err := c.init.Status(); err == nil {
			if ws.Signaled() {
				return int(ws.Signal())
			}
			return 0
		}
	}
	if code > signalBase && unix.SignalName(unix.Signal(code-signalBase)) != "" {
		return code - signalBase
	}
	return 0
}

// lostExit is the result of a task if its monitor ended first: the exit status is lost,
// and the task was killed because its exit would go unnoticed.
func (c *Container) lostExit(err error) Exit {
	if errors.Is(err, ociruntime.ErrNoExit) {
		err = fmt.Errorf("the monitor (conmon, process %d) ended before the task, which was killed: %w",
			c.state.Monitor.PID, err)
	}
	return Exit{Code: signalBase + int(unix.SIGKILL), Signal: int(unix.SIGKILL), Err: err, At: time.Now()}
}

// infraLoss returns an error if the infra process has died, which kills all other
// processes of its PID namespace (pid_namespaces(7)).
func (c *Container) infraLoss() error {
	if !c.state.Share.PID && !c.state.Gvisor {
		return nil
	}
	infra, err := c.pod.infraProcess()
	if err != nil || !infra.Ending() {
		return nil
	}
	if c.state.Gvisor {
		return fmt.Errorf("the pod's sandbox (runsc, process %d) ended, and with it every task of the pod", infra.PID)
	}
	return fmt.Errorf("the pod's infra process (catatonit, process %d) ended, which killed every task in the shared PID namespace", infra.PID)
}
