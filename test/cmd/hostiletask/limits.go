package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// most is a number of processes above the limit of every pod in the test.
const most = 400

// limits returns the attempts to exceed the task's limits.
func limits() []attempt {
	return []attempt{
		{"limit/open_files", func(options) error { return raise(unix.RLIMIT_NOFILE) }},
		{"limit/locked_memory", func(options) error { return raise(unix.RLIMIT_MEMLOCK) }},
		{"limit/nice", func(options) error { return raise(unix.RLIMIT_NICE) }},
		{"limit/realtime", func(options) error { return raise(unix.RLIMIT_RTPRIO) }},
		{"limit/message_queues", func(options) error { return raise(unix.RLIMIT_MSGQUEUE) }},
		{"limit/pending_signals", func(options) error { return raise(unix.RLIMIT_SIGPENDING) }},
		{"limit/priority", func(options) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }},
		{"limit/scheduler_fifo", func(options) error {
			return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}},
		{"limit/scheduler_deadline", func(options) error {
			const ms = 1e6
			return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_DEADLINE, Runtime: ms, Deadline: 10 * ms, Period: 10 * ms}, 0)
		}},
		with("limit/io_priority", unix.SYS_IOPRIO_SET, []uintptr{1, 0, 1 << 13}), // real time
		{"limit/processors", func(options) error { return moreProcessors() }},
		{"limit/oom_score", func(options) error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1"), 0) }},
		{"limit/processes", forkUntilDenied},
		{"limit/memory", func(options) error { return fill() }},
		{"limit/shared_memory", func(options) error { return sharedMemory() }},
	}
}

// raise increases a hard limit by one.
func raise(which int) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(which, &now); err != nil {
		return err
	}
	if now.Max == unix.RLIM_INFINITY {
		return fmt.Errorf("%w: unlimited", errAbsent)
	}
	now.Max++
	return unix.Setrlimit(which, &now)
}

func moreProcessors() error {
	var before, every, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for i := range 1024 {
		every.Set(i)
	}
	if err := unix.SchedSetaffinity(0, &every); err != nil {
		return err
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		return err
	}
	if after.Count() > before.Count() {
		return reached(strconv.Itoa(after.Count()) + " processors")
	}
	return fmt.Errorf("no more than before: %w", unix.EPERM)
}

// forkUntilDenied starts processes until the kernel refuses one.
func forkUntilDenied(o options) error {
	var children []*exec.Cmd
	defer func() {
		for _, c := range children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range most {
		c := exec.Command(o.self, "-role", "wait")
		if err := c.Start(); err != nil {
			return err
		}
		children = append(children, c)
	}
	return reached(strconv.Itoa(most) + " processes")
}

// tooMuch is an amount of memory above the limit of every container in the tests.
const tooMuch = 640 << 20

// fill writes to tooMuch bytes of private memory.
func fill() error {
	const size = tooMuch
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	return reached("640 MiB")
}

// sharedMemory does the same with a System V segment, which outlives its process.
func sharedMemory() error {
	const size = tooMuch
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	b, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return err
	}
	if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil {
		return err
	}
	for i := 0; i < size; i += 4096 {
		*(*byte)(unsafe.Add(unsafe.Pointer(&b[0]), i)) = 1
	}
	return reached("640 MiB")
}
