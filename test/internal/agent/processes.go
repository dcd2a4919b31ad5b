package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

// endMarked kills the processes that a crashed agent left running: plugins, log collectors and
// executors.
func endMarked(dir string) error {
	pids, err := marked(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

// marked returns the processes with the mark of the agent in dir that run Nomad's or its
// plugins' programs.
func marked(dir string) ([]int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	var pids []int
	for _, p := range all {
		environ, err := p.Environ()
		if err == nil && slices.Contains(environ, markEnv+"="+dir) {
			pids = append(pids, p.PID)
		}
	}
	return pids, nil
}

// programRuns reports whether a process has that command name, of which the kernel keeps 15 bytes.
func programRuns(name string) (bool, error) {
	name = name[:min(len(name), 15)]
	all, err := procfs.AllProcs()
	if err != nil {
		return false, fmt.Errorf("read processes: %w", err)
	}
	return slices.ContainsFunc(all, func(p procfs.Proc) bool {
		stat, err := p.Stat()
		if err != nil || stat.Comm != name || stat.State == "Z" {
			return false
		}
		// A process in a sandbox shares nothing with the machine.
		groups, err := p.Cgroups()
		return err == nil && !slices.ContainsFunc(groups, func(g procfs.Cgroup) bool {
			return strings.Contains(g.Path, "/"+sandbox.CgroupPrefix)
		})
	}), nil
}

// PluginPIDs returns the processes of the driver plugin, normally one.
func (a *Agent) PluginPIDs() ([]int, error) {
	pids, err := marked(a.config.Dir)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(a.config.PluginDir(), driverPlugin)
	return slices.DeleteFunc(pids, func(pid int) bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		return err != nil || strings.TrimSuffix(exe, " (deleted)") != program // deleted by an upgrade
	}), nil
}

// ClientPID returns the process of the client.
func (a *Agent) ClientPID() int { return a.client.cmd.Process.Pid }

// KillPlugin kills the driver plugin as a crash would.
func (a *Agent) KillPlugin() error {
	pids, err := a.PluginPIDs()
	return errors.Join(err, killAll("driver plugin", pids))
}

// InstallPlugin replaces the program of the plugin as a package manager does. A running plugin keeps
// the old one.
func (a *Agent) InstallPlugin(program string) error {
	installed := filepath.Join(a.config.PluginDir(), driverPlugin)
	if err := copyProgram(program, installed+".new"); err != nil {
		return err
	}
	return os.Rename(installed+".new", installed)
}

// CollectorPIDs returns the pod driver's log collectors: one while tasks run.
func (a *Agent) CollectorPIDs() ([]int, error) {
	return processes(func(args []string) bool {
		return len(args) > 1 && args[0] == "nomad-driver-pod-logs" && strings.HasPrefix(args[1], a.config.RunDir())
	})
}

// KillCollector kills the log collector as a crash would.
func (a *Agent) KillCollector() error {
	pids, err := a.CollectorPIDs()
	return errors.Join(err, killAll("log collector", pids))
}

// LogmonPIDs returns Nomad's own log collectors, one for each task of other drivers.
func (a *Agent) LogmonPIDs() ([]int, error) {
	ours, err := marked(a.config.Dir)
	if err != nil {
		return nil, err
	}
	all, err := processes(func(args []string) bool { return len(args) > 1 && args[1] == "logmon" })
	return slices.DeleteFunc(all, func(pid int) bool { return !slices.Contains(ours, pid) }), err
}

// processes returns the processes with matching arguments.
func processes(match func(args []string) bool) ([]int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	var pids []int
	for _, p := range all {
		args, _ := p.CmdLine() // empty for a process that has ended
		if match(args) {
			pids = append(pids, p.PID)
		}
	}
	return pids, nil
}

func killAll(what string, pids []int) error {
	if len(pids) == 0 {
		return fmt.Errorf("no %s runs", what)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return fmt.Errorf("kill %s %d: %w", what, pid, err)
		}
	}
	return nil
}

// KillLogmon kills Nomad's log collectors as a crash would. Nomad restarts them when the client
// starts again.
func (a *Agent) KillLogmon() error {
	pids, err := a.LogmonPIDs()
	return errors.Join(err, killAll("logmon", pids))
}
