package driver_test

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Verdicts of test/cmd/hostiletask.
const (
	denied  = "denied"
	allowed = "allowed"
	absent  = "absent"
	killed  = "killed"
)

// expected returns the acceptable verdicts of an attempt in a cell. By default, an attempt must be
// denied.
func (c cell) expected(attempt string) []string {
	if rest, ok := strings.CutPrefix(attempt, "process/"); ok {
		what, kind, _ := strings.Cut(rest, "/")
		return c.expectedOnProcess(what, kind)
	}
	switch attempt {
	case "limit/memory":
		return []string{killed} // OOM kill
	case "limit/shared_memory":
		return []string{killed, denied} // by the task's limit or the pod's
	case "privilege/become_root":
		if c.root() {
			return []string{absent}
		}
	case "host/sockets_and_pipes", "host/programs_written", "network/abstract_sockets", "network/path_sockets":
		return []string{absent, denied} // not every image has a target
	case "limit/locked_memory", "limit/message_queues", "limit/pending_signals", "limit/open_files":
		return []string{absent, denied} // absent if there is no limit
	}
	return []string{denied}
}

// expectedOnProcess follows SECURITY.md: in a shared PID namespace, tasks of the same user control
// each other, and root can signal the tasks of other users.
func (c cell) expectedOnProcess(what, kind string) []string {
	if c.exec && !c.sharePID && (kind == "same_user" || kind == "infra") {
		return []string{allowed, denied, absent} // PID 1 is the task's own first process
	}
	switch {
	case !c.sharePID:
		return []string{absent}
	case what == "enter_namespaces" || what == "take_descriptor":
		return []string{denied}
	case kind == "same_user":
		return []string{allowed, denied} // the processes may have different groups
	case c.root() && (what == "signal" || what == "oom_score"):
		return []string{allowed}
	}
	return []string{denied}
}

// control returns the acceptable verdicts of an attempt in a privileged task. It must succeed
// there, otherwise its denial elsewhere proves nothing.
func control(attempt string) []string {
	switch {
	case strings.HasPrefix(attempt, "logs/"), attempt == "limit/processes", attempt == "limit/shared_memory":
		return []string{denied} // also denied to privileged tasks
	case attempt == "limit/memory":
		return []string{killed}
	case attempt == "limit/shared_memory":
		return []string{killed, denied}
	case slices.Contains(unproven(), attempt):
		return []string{allowed, denied, absent}
	}
	return []string{allowed}
}

// unproven lists the attempts that need a feature that some machines and pods lack.
func unproven() []string {
	list := []string{
		"host/services", "host/sockets_and_pipes", "host/programs_written", "network/abstract_sockets", "network/path_sockets", "privilege/become_root",
		"privilege/capability",     // the task has all capabilities
		"limit/processors",         // the task has all processors
		"limit/scheduler_fifo",     // cgroup v1 with CONFIG_RT_GROUP_SCHED
		"limit/scheduler_deadline", // the same
	}
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		list = append(list, "namespace/unshare/time")
	}
	if !ownCapability(unix.CAP_SYS_RESOURCE) {
		list = append(list, "process/limits/infra", "process/limits/other_user", "privilege/memory_map", "limit/open_files", "limit/locked_memory",
			"limit/nice", "limit/realtime", "limit/message_queues", "limit/pending_signals", "limit/oom_score")
	}
	return list
}

// lacking reports whether an errno means that the kernel lacks the feature.
func lacking(errno int) bool {
	return slices.Contains([]unix.Errno{unix.ENOSYS, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENODEV}, unix.Errno(errno))
}

func ownCapability(which int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(os.Getpid())}
	var sets [2]unix.CapUserData
	err := unix.Capget(&header, &sets[0])
	return err == nil && sets[which/32].Effective&(1<<(which%32)) != 0
}
