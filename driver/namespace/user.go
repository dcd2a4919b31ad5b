package namespace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is the kind of user namespaces. Only PinUser pins one.
const User Kind = "user"

// PinUser creates a user namespace in which the ids from 0 to count-1 are the host's from first on,
// and namespaces of the given kinds that belong to it, and pins each to the file dir/KIND.
// Leftovers of an interrupted PinUser are replaced. After an error nothing is left.
//
// A process of many threads cannot enter a new user namespace. program runs in them until they are
// pinned: it must do nothing but wait, and every user must be able to execute it.
func PinUser(dir, program string, first, count uint32, kinds ...Kind) error {
	all := append([]Kind{User}, kinds...)
	if err := Unpin(dir, all...); err != nil {
		return err
	}
	flags := uintptr(unix.CLONE_NEWUSER)
	for _, k := range kinds {
		f, err := k.flag()
		if err != nil {
			return err
		}
		flags |= uintptr(f)
	}
	cmd := exec.Command(program, "-P")
	cmd.Env, cmd.Dir = []string{}, "/"
	ids := []syscall.SysProcIDMap{{HostID: int(first), Size: int(count)}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true, Setpgid: true,
		// Without root of the namespace the program would have the ids of the host's root, which the
		// namespace does not have.
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	// The goroutine keeps its thread, so that Pdeathsig does not end the program earlier.
	return onSpareThread(func() error {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("create user namespace: %w", err)
		}
		var errs []error
		for _, k := range all {
			errs = append(errs, pinFile(filepath.Join(dir, string(k)), k, fmt.Sprintf("/proc/%d/ns/%s", cmd.Process.Pid, k)))
		}
		_ = cmd.Process.Kill() // Wait reports nothing else
		_ = cmd.Wait()
		if err := errors.Join(errs...); err != nil {
			return errors.Join(err, Unpin(dir, all...))
		}
		return nil
	})
}

// PinFrom pins a namespace that PinUser has created in another directory to dir/KIND. setup, unless
// nil, runs inside it first. owner is the host's id of root in its user namespace.
func PinFrom(from, dir string, setup func() error, owner uint32, k Kind) error {
	if err := Unpin(dir, k); err != nil {
		return err
	}
	source := filepath.Join(from, string(k))
	if setup != nil {
		if err := enterAs(source, k, owner, setup); err != nil {
			return err
		}
	}
	if err := pinFile(filepath.Join(dir, string(k)), k, source); err != nil {
		return errors.Join(err, Unpin(dir, k))
	}
	return nil
}

// InIPCOf is InIPC for a namespace that belongs to a user namespace. owner is the host's id of its
// root.
func InIPCOf(path string, owner uint32, f func() error) error { return enterAs(path, IPC, owner, f) }

// enterAs runs f in a namespace, and once more as its owner if f lacks the permission: since Linux
// 5.19 only the owner of an IPC namespace may change its limits.
func enterAs(path string, k Kind, owner uint32, f func() error) error {
	return enter(path, k, func() error {
		err := f()
		if !errors.Is(err, os.ErrPermission) || owner == 0 {
			return err
		}
		// It affects this thread only, which exits.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(owner), ^uintptr(0)); errno != 0 {
			return errors.Join(err, errno)
		}
		return f()
	})
}
