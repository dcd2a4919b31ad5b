package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel returns the attempts to change the kernel, and to use system calls that the seccomp
// profile blocks.
func kernel() []attempt {
	return append(clocks(), append(keys(), []attempt{
		{"kernel/bpf", func(options) error { return bpf() }},
		{"kernel/perf", func(options) error {
			fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
				Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		with("kernel/userfaultfd", unix.SYS_USERFAULTFD, []uintptr{unix.O_CLOEXEC | 1}), // UFFD_USER_MODE_ONLY
		{"kernel/io_uring", func(options) error {
			params, _ := room(256)
			return call(unix.SYS_IO_URING_SETUP, []uintptr{1, params})
		}},
		with("kernel/kexec_load", unix.SYS_KEXEC_LOAD, []uintptr{0, 17, 0, 0}, unix.EINVAL),
		with("kernel/kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, []uintptr{minus(1), minus(1), 0, 0, 0}, unix.EBADF),
		with("kernel/init_module", unix.SYS_INIT_MODULE, []uintptr{text(""), 0, text("")}, unix.ENOEXEC),
		with("kernel/finit_module", unix.SYS_FINIT_MODULE, []uintptr{minus(1), text(""), 0}, unix.EBADF),
		with("kernel/delete_module", unix.SYS_DELETE_MODULE, []uintptr{text("none"), unix.O_NONBLOCK}, unix.ENOENT),
		with("kernel/reboot", unix.SYS_REBOOT, []uintptr{unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_OFF}, unix.EINVAL),
		with("kernel/swapon", unix.SYS_SWAPON, []uintptr{text("/none"), 0}, unix.ENOENT),
		with("kernel/swapoff", unix.SYS_SWAPOFF, []uintptr{text("/none")}, unix.ENOENT),
		with("kernel/quotactl", unix.SYS_QUOTACTL, []uintptr{0x800002 << 8, text("/dev/null"), 0, 0}, unix.ENOTBLK),
		with("kernel/acct", unix.SYS_ACCT, []uintptr{text("/none/none")}, unix.ENOENT),
		{"kernel/syslog", func(options) error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 16))
			return err
		}},
		with("kernel/iopl", unix.SYS_IOPL, []uintptr{1}),
		with("kernel/ioperm", unix.SYS_IOPERM, []uintptr{0x80, 1, 1}),
		with("kernel/vhangup", unix.SYS_VHANGUP, nil),
		with("kernel/fanotify", unix.SYS_FANOTIFY_INIT, []uintptr{unix.FAN_REPORT_FID, 0}),
		with("kernel/set_mempolicy", unix.SYS_SET_MEMPOLICY, []uintptr{0, 0, 0}),
		with("kernel/personality", unix.SYS_PERSONALITY, []uintptr{0x0040000}), // ADDR_NO_RANDOMIZE
		with("kernel/x32_mount", unix.SYS_MOUNT|0x40000000, []uintptr{text("none"), text("/none"), text("tmpfs"), 0, 0}, unix.ENOENT),
		{"kernel/open_by_handle", func(options) error { return openByHandle() }},
		{"kernel/host_name", func(options) error {
			name, err := os.Hostname()
			if err != nil {
				return err
			}
			return unix.Sethostname([]byte(name))
		}},
		{"kernel/domain_name", func(options) error {
			b, err := os.ReadFile("/proc/sys/kernel/domainname")
			if err != nil {
				return err
			}
			return unix.Setdomainname([]byte(strings.TrimSpace(string(b))))
		}},
		{"privilege/set_uid_program", func(options) error {
			if status("self", "NoNewPrivs") == "1" {
				return fmt.Errorf("no new privileges: %w", unix.EPERM)
			}
			return nil
		}},
		{"privilege/capability", func(options) error { return raiseCapability() }},
		{"privilege/become_root", func(options) error {
			if os.Getuid() == 0 {
				return errAbsent
			}
			return onThread(func() error { return unix.Setresuid(0, 0, 0) })
		}},
		with("privilege/memory_map", unix.SYS_PRCTL, []uintptr{unix.PR_SET_MM, unix.PR_SET_MM_BRK, 0, 0, 0}, unix.EINVAL),
	}...)...)
}

func clocks() []attempt {
	return []attempt{
		{"kernel/clock_settime", func(options) error {
			now := unix.NsecToTimespec(time.Now().UnixNano())
			return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
		}},
		{"kernel/settimeofday", func(options) error {
			now := unix.NsecToTimeval(time.Now().UnixNano())
			return unix.Settimeofday(&now)
		}},
		{"kernel/adjtimex", func(options) error {
			var now unix.Timex
			if _, err := unix.Adjtimex(&now); err != nil {
				return err
			}
			_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY, Freq: now.Freq})
			return err
		}},
	}
}

func keys() []attempt {
	return []attempt{
		{"kernel/add_key", func(options) error {
			_, err := unix.AddKey("user", "hostile", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}},
		{"kernel/keyring_of_user", func(options) error {
			_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
			return err
		}},
		{"kernel/request_key", func(options) error {
			_, err := unix.RequestKey("user", "hostile", "", 0)
			if errors.Is(err, unix.ENOKEY) || errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		}},
	}
}

// bpf creates a map of one element (BPF_MAP_CREATE), which needs the fewest privileges.
func bpf() error {
	at, b := room(128)
	for i, v := range []uint32{2 /* array */, 4, 4, 1} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	return call(unix.SYS_BPF, []uintptr{0, at, 128})
}

// openByHandle opens a directory that is mounted from the host by its file handle. This would
// work for any other directory of that file system ("shocker").
func openByHandle() error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/alloc", 0)
	if err != nil {
		return err
	}
	dir, err := unix.Open("/alloc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if errors.Is(err, unix.ESTALE) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func raiseCapability() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	before := sets
	for i := range sets {
		sets[i].Permitted, sets[i].Effective = ^uint32(0), ^uint32(0)
	}
	sets[1].Permitted, sets[1].Effective = 0x1ff, 0x1ff // the last is CAP_CHECKPOINT_RESTORE
	if before == sets {
		return reached("has all capabilities")
	}
	return onThread(func() error { return unix.Capset(&header, &sets[0]) })
}

func putWord(b []byte, v uintptr) { binary.NativeEndian.PutUint64(b, uint64(v)) }
