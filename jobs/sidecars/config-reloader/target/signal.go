package target

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/podprocs"
)

// handlerPoll is the interval between checks for a signal handler.
const handlerPoll = 20 * time.Millisecond

// Sender signals processes.
type Sender struct {
	Proc procfs.FS
	// Patience is how long a new process may take to install its signal handler.
	Patience time.Duration
}

// Signals returns the signals that Send can send, by name.
func Signals() map[string]unix.Signal {
	return map[string]unix.Signal{
		"SIGHUP": unix.SIGHUP, "SIGUSR1": unix.SIGUSR1, "SIGUSR2": unix.SIGUSR2, "SIGWINCH": unix.SIGWINCH,
		"SIGINT": unix.SIGINT, "SIGQUIT": unix.SIGQUIT, "SIGTERM": unix.SIGTERM,
	}
}

// meansReload reports whether a signal that ends processes by default is commonly
// used to request a reload.
func meansReload(s unix.Signal) bool {
	return s == unix.SIGHUP || s == unix.SIGUSR1 || s == unix.SIGUSR2
}

// Send signals a process returned by Find. It ignores a process that has exited. If
// the process does not handle the signal, it waits up to Patience for a handler,
// since the process may have just started.
func (r Sender) Send(ctx context.Context, p Process, s unix.Signal) error {
	// The descriptor refers to this process even if its PID is reused.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	same, err := r.stillIs(p)
	if err != nil || !same {
		return err
	}
	if meansReload(s) {
		if handled, err := r.awaitHandler(ctx, p.PID, s); err != nil || !handled {
			return err
		}
	}
	err = unix.PidfdSendSignal(fd, s, nil, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("no permission to signal process %d (%s) of user %s: run this sidecar as that user, or as root",
			p.PID, p.Name, r.userOf(p.PID))
	case err != nil:
		return fmt.Errorf("signal process %d (%s): %w", p.PID, p.Name, err)
	}
	return nil
}

// stillIs reports whether p is still the process with its PID.
func (r Sender) stillIs(p Process) (bool, error) {
	now, err := r.Proc.Proc(p.PID)
	if err != nil {
		return false, nil // exited
	}
	stat, err := now.Stat()
	if podprocs.Vanished(err) {
		return false, nil
	}
	return err == nil && stat.Starttime == p.Start, err
}

// awaitHandler waits until a process handles or ignores a signal. It returns false
// if the process exited.
func (r Sender) awaitHandler(ctx context.Context, pid int, s unix.Signal) (bool, error) {
	patience := time.NewTimer(r.Patience)
	defer patience.Stop()
	tick := time.NewTicker(handlerPoll)
	defer tick.Stop()
	for {
		handled, err := handles(pid, s)
		if podprocs.Vanished(err) {
			return false, nil
		}
		if err != nil || handled {
			return handled, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-patience.C:
			return false, fmt.Errorf("process %d does not handle %s, which would end it: set the process that handles it, or another signal",
				pid, unix.SignalName(s))
		}
	}
}

// handles reports whether a signal would not end a process, from the masks SigCgt
// and SigIgn of proc_pid_status(5). A zombie counts as exited.
func handles(pid int, s unix.Signal) (bool, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false, err
	}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":\t")
		if name == "State" && strings.ContainsAny(value[:1], "ZX") {
			return false, fs.ErrNotExist
		}
		if name != "SigCgt" && name != "SigIgn" {
			continue
		}
		mask, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			return false, fmt.Errorf("the %s of process %d: %w", name, pid, err)
		}
		if mask&(1<<(s-1)) != 0 {
			return true, nil
		}
	}
	return false, nil
}

func (r Sender) userOf(pid int) string {
	if p, err := r.Proc.Proc(pid); err == nil {
		if status, err := p.NewStatus(); err == nil {
			return strconv.FormatUint(status.UIDs[0], 10)
		}
	}
	return "unknown"
}
