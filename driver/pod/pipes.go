package pod

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// pipe is a FIFO from a task to Nomad's log collector (logmon). Each task has one
// logmon, which Nomad restarts only with the task or the agent. If logmon dies, the
// task would block forever once the pipe is full.
type pipe struct {
	c    *Container
	name string
	pipeState
}

// pipeState identifies the FIFO. The task could replace it by another file or a
// symbolic link.
type pipeState struct {
	HostPath string `json:"host_path"`
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
}

// identifyPipe returns nil for a file that is not a FIFO, such as /dev/null.
func identifyPipe(file *os.File) (*pipeState, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, nil
	}
	return &pipeState{HostPath: file.Name(), Device: stat.Dev, Inode: stat.Ino}, nil
}

// watchPipes keeps the task running if its output pipes have no reader.
func (c *Container) watchPipes() {
	if c.m.cfg.UnreadTimeout == 0 {
		return
	}
	for name, state := range map[string]*pipeState{"stdout": c.state.Stdout, "stderr": c.state.Stderr} {
		if state != nil {
			c.m.background.Go(pipe{c, name, *state}.watch)
		}
	}
}

func (p pipe) watch() {
	const checks = 4
	tick := time.NewTicker(p.c.m.cfg.UnreadTimeout / checks)
	defer tick.Stop()
	for full := 0; p.wait(tick.C); {
		fd, err := p.open()
		if err != nil {
			p.c.m.cfg.Log.Warn("task output is no longer watched", "task_id", p.c.state.TaskID, "error", err)
			return
		}
		if full++; !isFull(fd) {
			full = 0
		}
		if full > checks && p.hasNoReader(fd) {
			p.drop(fd)
			full = 0
		}
		_ = unix.Close(fd) // nothing was written
	}
}

// wait waits for the next tick. It returns false when the task has ended or the manager closes.
func (p pipe) wait(tick <-chan time.Time) bool {
	select {
	case <-p.c.done:
		return false
	case <-p.c.m.closing:
		return false
	case <-tick:
		return true
	}
}

// open opens the pipe again for non-blocking reads. It returns no os.File, which
// would wait for data.
func (p pipe) open() (fd int, err error) {
	path, err := unix.Open(p.HostPath, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p.HostPath, Err: err}
	}
	defer unix.Close(path)
	var stat unix.Stat_t
	if err := unix.Fstat(path, &stat); err != nil || stat.Dev != p.Device || stat.Ino != p.Inode {
		return -1, errors.Join(fmt.Errorf("%s was replaced", p.HostPath), err)
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", path), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// isFull reports whether a write to the pipe would block.
func isFull(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLOUT == 0
}

// hasNoReader reports whether no process has the pipe open for reading. A slow reader,
// for example with a slow disk, counts as a reader.
func (p pipe) hasNoReader(fd int) bool {
	read, err := process.HasReader(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		p.c.m.cfg.Log.Error("find reader of task output", "task_id", p.c.state.TaskID, "error", err)
	}
	return err == nil && !read
}

// drop discards output until the pipe has a reader, and reports the number of bytes.
func (p pipe) drop(fd int) {
	p.c.event(fmt.Sprintf("Nomad's log collector of this task has ended and %s is full; output is dropped until the agent starts a new collector", p.name))
	p.c.m.unread.stalls.Add(1)
	dropped := 0
	defer func() { p.c.event(fmt.Sprintf("%d bytes of %s were dropped", dropped, p.name)) }()
	check := time.NewTicker(time.Second)
	defer check.Stop()
	for {
		n := empty(fd)
		dropped += n
		p.c.m.unread.dropped.Add(int64(n))
		select {
		case <-p.c.done:
			return
		case <-p.c.m.closing:
			return
		case <-check.C:
			if !p.hasNoReader(fd) {
				return
			}
		default:
		}
	}
}

// empty reads the buffered data, at most about 1 MiB.
func empty(fd int) (bytes int) {
	const (
		waitMillis = 100
		most       = 1 << 20
	)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, waitMillis) // or less
	buffer := make([]byte, 64<<10)
	for bytes < most {
		n, err := unix.Read(fd, buffer)
		if err != nil {
			break
		}
		bytes += n
	}
	return bytes
}
