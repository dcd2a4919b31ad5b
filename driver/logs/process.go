package logs

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// processName is argv[0] of the collector process.
const processName = "nomad-driver-pod-logs"

// comm is the process name in ps, at most 15 bytes.
const comm = "nomad-pod-logs"

const serviceName = "Logs"

// Reexec runs the collector if this process was started as one, and reports whether
// it did: main must then return. On exit it calls leave, which undoes Config.Place.
func Reexec(leave func() error) bool {
	if os.Args[0] != processName {
		return false
	}
	const args = 3
	if len(os.Args) != args {
		log.Fatalf("%s: want a directory and a pattern", processName)
	}
	log.SetPrefix(processName + ": ")
	_ = os.WriteFile("/proc/self/comm", []byte(comm), 0o644) // instead of "exe"
	if err := errors.Join(collect(os.Args[1], os.Args[2]), leave()); err != nil {
		log.Fatal(err)
	}
	return true
}

// collect serves until the collector is idle. It returns immediately if another
// collector serves the directory.
func collect(dir, pattern string) error {
	// The lock is held until this process has ended: its streams write until then, and the next
	// collector would write in the same place.
	lock, err := unix.Open(filepath.Join(dir, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(dir, "lock"), Err: err}
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return err
	}
	// The live heap is small, and frequent collections keep the process small.
	debug.SetGCPercent(50)
	c := &collector{tasks: map[string][]*stream{}, idle: make(chan struct{}), notices: make(chan Notice, 100)}
	if err := c.find(pattern); err != nil {
		return err
	}
	listener, err := listen(dir)
	if err != nil {
		return err
	}
	// The parent reads file descriptor 3 until it is closed.
	if err := os.NewFile(3, "started").Close(); err != nil {
		log.Print(err)
	}
	return c.serve(listener)
}

func listen(dir string) (*net.UnixListener, error) {
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(address.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // its path is valid only now
	return listener, os.Chmod(address.Name, 0o600)
}

// socketAddress returns a short path, since socket addresses are limited, even if the
// path of dir is long. It is valid until done is called.
func socketAddress(dir string) (address *net.UnixAddr, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/socket", fd)}, func() { _ = unix.Close(fd) }, nil
}
