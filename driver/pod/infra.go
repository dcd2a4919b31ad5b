package pod

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Every task that shares the pod's PID namespace can find the infra process.
// Several layers keep tasks from exploiting it:
// - its user is one that no task gets, and it has no capabilities;
// - it is not dumpable, so that a task that becomes this user with CAP_SETUID
// can neither trace it nor open its memory, root or descriptors;
// - a seccomp filter denies it new processes, programs, files and sockets, even
// if a task with CAP_SYS_PTRACE controls it;
// - its cgroup has its own limits.

// infraID is the user and group of the infra process: the largest ID that runc
// accepts. lookupUser refuses it for tasks.
const infraID = math.MaxInt32

// infraLimits leave room for the runtime, which starts the process from within
// the cgroup: runc's threads and its copy of itself.
func infraLimits() ocispec.Limits {
	return ocispec.Limits{MemoryBytes: 32 << 20, MemorySwapBytes: 32 << 20, CPUShares: 10, Processes: 16}
}

func infraContainer(root, program, cgroupPath string) ocispec.Container {
	return ocispec.Container{
		RootHostPath: root,
		ReadonlyRoot: true,
		Args:         []string{"/catatonit", "-P"},
		User:         ocispec.User{UID: infraID, GID: infraID},
		Namespaces: []ocispec.Namespace{
			{Kind: specs.MountNamespace}, {Kind: specs.PIDNamespace}, {Kind: specs.NetworkNamespace},
			{Kind: specs.IPCNamespace}, {Kind: specs.UTSNamespace},
		},
		Mounts:     []ocispec.Mount{ocispec.BindFile(program, "/catatonit", true)},
		CgroupPath: cgroupPath,
		Limits:     infraLimits(),
		Rlimits:    []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
		Security:   ocispec.Security{SeccompProfile: infraSeccomp},
	}
}

// infraSeccomp allows the system calls of catatonit, and of crun and runc between
// loading the filter and executing the program. runc opens a FIFO, lists
// its open files, and its Go runtime may create a thread: clone with CLONE_THREAD.
// New processes, sockets, shared memory and tracing are among the calls denied.
const infraSeccomp = `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"defaultErrnoRet": 1,
	"syscalls": [
		{"action": "SCMP_ACT_ALLOW", "names": [
			"arch_prctl", "brk", "clock_gettime", "clock_nanosleep", "close", "close_range", "epoll_ctl", "epoll_pwait",
			"epoll_wait", "execve", "exit", "exit_group", "fcntl", "fstat", "futex", "getpid", "getrandom", "gettid",
			"getuid", "geteuid", "getgid", "getegid", "kill", "madvise", "mmap", "mprotect", "munmap", "nanosleep",
			"newfstatat", "pause", "poll", "ppoll", "prctl", "pread64", "prlimit64", "read", "readlink", "readlinkat",
			"restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
			"rt_sigsuspend", "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "set_robust_list",
			"set_tid_address", "sigaltstack", "signalfd4", "tgkill", "uname", "wait4", "waitid", "write", "writev"
		]},
		{"action": "SCMP_ACT_ALLOW", "names": ["clone"], "args": [
			{"index": 0, "value": 65536, "valueTwo": 65536, "op": "SCMP_CMP_MASKED_EQ"}
		]},
		{"action": "SCMP_ACT_ALLOW", "names": [
			"faccessat", "faccessat2", "fstatfs", "getdents64", "lseek", "openat", "openat2", "statfs", "statx"
		]},
		{"action": "SCMP_ACT_ERRNO", "errnoRet": 38, "names": ["clone3"]}
	]
}`

// infraProgram returns a copy of catatonit in dir that only root can read: a
// program that its own user cannot read is not dumpable. The copy is replaced when
// the original is upgraded. Not safe for concurrent use.
func infraProgram(original, dir string) (string, error) {
	from, err := os.Open(original)
	if err != nil {
		return "", err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "catatonit")
	if have, err := os.Lstat(path); err == nil && have.Size() == info.Size() && have.ModTime().Equal(info.ModTime()) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	to, err := os.Create(path + ".new")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	err = errors.Join(err, to.Chmod(0o111), to.Close(), os.Chtimes(to.Name(), info.ModTime(), info.ModTime()))
	if err == nil {
		err = os.Rename(to.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("copy %s: %w", original, err), os.Remove(to.Name()))
	}
	return path, nil
}
