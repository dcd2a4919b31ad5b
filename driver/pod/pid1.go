package pod

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// initGrace is the time in which an init system gives up.
const initGrace = 10 * time.Second

// initSystem returns the name of the init system in a command, or "": s6-overlay, systemd, SysV
// init, BusyBox, runit, OpenRC or s6-linux-init. They exit or act as another program unless they are
// PID 1.
func (v view) initSystem(args []string) string {
	names := []string{"init", "systemd", "runit", "runit-init", "openrc-init", "s6-linux-init"}
	for _, arg := range args {
		name := path.Base(arg)
		if !path.IsAbs(arg) || !slices.Contains(names, name) {
			continue
		}
		if file, err := v.open(arg); err == nil { // /sbin/init is often a link to systemd
			defer file.Close()
			if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd())); err == nil {
				name = path.Base(target)
			}
		}
		return name
	}
	return ""
}

// initHint returns why the init system in a command is likely to fail, with the fix, or "".
func (t Task) initHint(v view, args []string) string {
	name := v.initSystem(args)
	if name == "" {
		return ""
	}
	var fixes []string
	switch {
	case t.HostNamespaces.PID:
		fixes = append(fixes, `remove pid_mode = "host"`)
	case t.Share.PID:
		fixes = append(fixes, `remove "pid" from share`)
	}
	if t.Process.Init {
		fixes = append(fixes, "remove init = true")
	}
	switch {
	case len(fixes) > 0:
		return "its init system is not PID 1, which most require; " + strings.Join(fixes, " and ")
	case name == "systemd" && !t.Privileged:
		return "systemd must write to /sys/fs/cgroup; set privileged = true"
	}
	return ""
}

// explainInit sends an event if the task's program is an init system that has probably failed for
// the reason in the hint. Its own message may not name it, and systemd has none.
func (c *Container) explainInit(exit Exit) {
	if c.initHint == "" || exit.Code == 0 || exit.Signal != 0 || exit.At.Sub(c.state.StartedAt) > initGrace {
		return
	}
	c.event(fmt.Sprintf("The task ended with exit code %d: %s", exit.Code, c.initHint))
}

// explainTimeout sends an event if the task did not end because the kernel discarded the signal:
// PID 1 of a namespace receives only signals that it handles (pid_namespaces(7)).
func (c *Container) explainTimeout(sig unix.Signal, timeout time.Duration) {
	if !c.discards(sig) {
		return
	}
	name := unix.SignalName(sig)
	if name == "" {
		name = fmt.Sprintf("signal %d", sig)
	}
	fix := "set init = true, or kill_signal to a signal that it handles"
	if slices.Contains(ignoredByDefault(), sig) {
		fix = "set kill_signal to a signal that it handles"
	}
	c.event(fmt.Sprintf("The task did not end within %s: its program is PID 1 and has no handler for %s, which the kernel then discards; %s", timeout, name, fix))
}

// ignoredByDefault lists the signals that end no program without a handler (signal(7)).
func ignoredByDefault() []unix.Signal {
	return []unix.Signal{unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH}
}

// discards reports whether the task's first process is PID 1 and neither handles, ignores nor blocks
// a signal.
func (c *Container) discards(sig unix.Signal) bool {
	if c.state.Gvisor || sig == unix.SIGKILL || sig == unix.SIGSTOP { // the kernel never discards these
		return false
	}
	if pid, err := statusField(c.state.Init.PID, "NSpid"); err != nil || pid != "1" {
		return false
	}
	for _, set := range []string{"SigCgt", "SigIgn", "SigBlk"} {
		text, err := statusField(c.state.Init.PID, set)
		if err != nil {
			return false
		}
		mask, err := strconv.ParseUint(text, 16, 64)
		if err != nil || mask&(1<<(sig-1)) != 0 {
			return false
		}
	}
	return c.state.Init.Alive() // the PID may be reused
}
