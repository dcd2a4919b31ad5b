package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kinds are the kinds of other processes that a task may find.
var kinds = []string{"infra", "same_user", "other_user"}

// targets lists the processes of a kind, except this process and its parent.
func targets(kind string) []int {
	own := map[int]bool{os.Getpid(): true, os.Getppid(): true}
	found, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range found {
		pid := number(filepath.Base(dir))
		if !own[pid] && kindOf(pid) == kind {
			pids = append(pids, pid)
		}
	}
	return pids
}

func kindOf(pid int) string {
	uids := strings.Fields(status(strconv.Itoa(pid), "Uid"))
	switch {
	case len(uids) == 0:
		return "" // it has exited
	case pid == 1:
		return "infra"
	case uids[0] == strconv.Itoa(os.Getuid()):
		return "same_user"
	}
	return "other_user"
}

// processes returns the attempts on other processes, for each kind.
func processes() []attempt {
	type on struct {
		name string
		try  func(pid int) error
	}
	list := []on{
		{"trace", trace},
		{"read_memory", func(pid int) error { return transfer(unix.SYS_PROCESS_VM_READV, pid) }},
		{"write_memory", func(pid int) error { return transfer(unix.SYS_PROCESS_VM_WRITEV, pid) }},
		{"open_memory", func(pid int) error { return opens(of(pid, "mem"), unix.O_RDWR) }},
		{"maps", func(pid int) error { return opens(of(pid, "maps"), unix.O_RDONLY) }},
		{"environ", func(pid int) error { return opens(of(pid, "environ"), unix.O_RDONLY) }},
		{"program", func(pid int) error { return opens(of(pid, "exe"), unix.O_RDONLY) }},
		{"root", func(pid int) error { return opens(of(pid, "root/"), unix.O_RDONLY) }},
		{"cwd", func(pid int) error { return opens(of(pid, "cwd/"), unix.O_RDONLY) }},
		{"descriptors", func(pid int) error { _, err := os.Readlink(of(pid, "fd/0")); return err }},
		{"take_descriptor", takeDescriptor},
		{"namespace_files", namespaceFiles},
		{"enter_namespaces", enter},
		{"signal", func(pid int) error { return unix.Kill(pid, 0) }},
		{"limits", changeLimits},
		{"oom_score", func(pid int) error { return rewrite(of(pid, "oom_score_adj")) }},
		{"affinity", changeAffinity},
		{"priority", func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 0) }},
	}
	var all []attempt
	for _, kind := range kinds {
		for _, l := range list {
			all = append(all, attempt{"process/" + l.name + "/" + kind, func(options) error { return onEach(kind, l.try) }})
		}
	}
	return all
}

// onEach returns nil if the attempt succeeded on a process of the kind. Success on a process
// without memory does not count: some kernels let everyone open the empty /proc/<pid>/maps, mem
// and environ of a process that has exited and was not yet waited for.
func onEach(kind string, try func(pid int) error) error {
	err := errAbsent
	for _, pid := range targets(kind) {
		tried := try(pid)
		if tried == nil && hasMemory(pid) {
			return reached(fmt.Sprintf("process %d %q", pid, status(strconv.Itoa(pid), "Name")))
		}
		if tried != nil {
			err = tried
		}
	}
	return err
}

func hasMemory(pid int) bool { return status(strconv.Itoa(pid), "VmSize") != "" }

func of(pid int, file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }

func opens(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return unix.Close(fd)
}

// rewrite writes the current content of a kernel file back to it.
func rewrite(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(b)
	return err
}

func trace(pid int) error {
	const ptraceSeize = 0x4206
	return onThread(func() error { return call(unix.SYS_PTRACE, []uintptr{ptraceSeize, uintptr(pid)}) })
}

// transfer copies from or to an unmapped address. EFAULT is returned after the permission check.
func transfer(nr uintptr, pid int) error {
	local, _ := room(8)
	vector := func(at uintptr) uintptr {
		p, b := room(16)
		putWord(b, at)
		putWord(b[8:], 8)
		return p
	}
	return call(nr, []uintptr{uintptr(pid), vector(local), 1, vector(8), 1, 0}, unix.EFAULT)
}

func takeDescriptor(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	taken, err := unix.PidfdGetfd(fd, 0, 0)
	if err != nil {
		return err
	}
	return unix.Close(taken)
}

func namespaceFiles(pid int) error {
	var tries []func() error
	for _, k := range namespaceKinds() {
		tries = append(tries, func() error { return opens(of(pid, "ns/"+k.file), unix.O_RDONLY) })
	}
	return anyOf(tries...)
}

func enter(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var tries []func() error
	for _, k := range namespaceKinds() {
		tries = append(tries, func() error { return onThread(func() error { return unix.Setns(fd, k.flag) }) })
	}
	return anyOf(tries...)
}

func changeLimits(pid int) error {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &now, nil)
}

func changeAffinity(pid int) error {
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &now); err != nil {
		return err
	}
	return unix.SchedSetaffinity(pid, &now)
}
