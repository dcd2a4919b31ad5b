// Package namespace creates Linux namespaces that exist without a process: each
// is pinned to a file by a bind mount of its nsfs entry (namespaces(7)), and
// ends when the file is unmounted and the last process in it has exited.
//
// It creates IPC, UTS and network namespaces only. A PID namespace needs a first
// process, and the OCI runtime creates mount and user namespaces.
package namespace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Kind is a kind of namespace, spelt as in /proc/PID/ns.
type Kind string

// The kinds that can be pinned. PID requires a process.
const (
	IPC Kind = "ipc"
	UTS Kind = "uts"
	Net Kind = "net"
	PID Kind = "pid"
)

func (k Kind) flag() (int, error) {
	switch k {
	case IPC:
		return unix.CLONE_NEWIPC, nil
	case UTS:
		return unix.CLONE_NEWUTS, nil
	case Net:
		return unix.CLONE_NEWNET, nil
	}
	return 0, fmt.Errorf("namespace kind %q cannot be pinned", string(k))
}

// Pin creates namespaces of the given kinds and pins each to the file
// dir/KIND. If setup is not nil, it runs inside them first. Leftovers of an interrupted
// Pin are replaced. After an error nothing is left.
func Pin(dir string, setup func() error, kinds ...Kind) error {
	flags := 0
	for _, k := range kinds {
		f, err := k.flag()
		if err != nil {
			return err
		}
		flags |= f
	}
	if flags == 0 {
		return nil
	}
	if err := Unpin(dir, kinds...); err != nil {
		return err
	}
	err := onSpareThread(func() error { return pinFromThread(dir, setup, flags, kinds) })
	if err != nil {
		return errors.Join(err, Unpin(dir, kinds...))
	}
	return nil
}

// onSpareThread runs f on a thread that exits afterwards, whatever f did to it. It never
// uses the main thread, which cannot exit: /proc/self shows its namespaces as the
// namespaces of the process.
func onSpareThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine occupies the main thread, the other cannot run on it.
			done <- onSpareThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // the thread stays locked and so exits with the goroutine
	}()
	return <-done
}

func pinFromThread(dir string, setup func() error, flags int, kinds []Kind) error {
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare %v: %w", kinds, err)
	}
	if setup != nil {
		if err := setup(); err != nil {
			return err
		}
	}
	for _, k := range kinds {
		if err := pinOne(filepath.Join(dir, string(k)), k); err != nil {
			return err
		}
	}
	return nil
}

// PinPID pins the PID namespace of a process to the file dir/pid. Unlike the others the
// namespace ends with its first process; the file guarantees that it never refers to
// the namespace of another process that reused the PID. The caller verifies afterwards
// that the process was the right one.
func PinPID(dir string, pid int) error {
	return pinFile(filepath.Join(dir, string(PID)), PID, fmt.Sprintf("/proc/%d/ns/pid", pid))
}

func pinOne(path string, k Kind) error {
	return pinFile(path, k, fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), k))
}

func pinFile(path string, k Kind, src string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("pin %s namespace: %w", k, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("pin %s namespace: %w", k, err)
	}
	if err := unix.Mount(src, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin %s namespace to %s: %w", k, path, err)
	}
	return nil
}

// SetHostname returns a setup for Pin. An empty name keeps the host's.
func SetHostname(name string) func() error {
	return func() error {
		if name == "" {
			return nil
		}
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("set hostname %q: %w", name, err)
		}
		return nil
	}
}

// Pinned reports whether a namespace is pinned to the file dir/KIND.
func Pinned(dir string, k Kind) bool {
	var st unix.Statfs_t
	return unix.Statfs(filepath.Join(dir, string(k)), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Unpin reverts Pin. Missing files are no error. Processes in a namespace keep it alive
// until they exit.
func Unpin(dir string, kinds ...Kind) error {
	var errs []error
	for _, k := range kinds {
		path := filepath.Join(dir, string(k))
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unpin %s: %w", path, err))
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("unpin %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}
