package pod

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// pipe is what a task prints to where Nomad reads it: one process for each
// task, which is not started again when it dies but with the task or the
// agent. A program would then wait for ever as soon as the pipe is full.
type pipe struct {
	c    *Container
	name string
	pipeState
}

// pipeState is which file it is. The task can put another in its place, or a
// link to one.
type pipeState struct {
	HostPath string `json:"host_path"`
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
}

// identifyPipe returns nil for what is no FIFO, such as /dev/null.
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

// watchPipes sees to it that a task goes on when nobody reads what it prints.
func (c *Container) watchPipes() {
	if c.m.cfg.UnreadFor == 0 {
		return
	}
	for name, state := range map[string]*pipeState{"stdout": c.state.Stdout, "stderr": c.state.Stderr} {
		if state != nil {
			c.m.background.Go(pipe{c, name, *state}.watch)
		}
	}
}

func (p pipe) watch() {
	const looks = 4
	tick := time.NewTicker(p.c.m.cfg.UnreadFor / looks)
	defer tick.Stop()
	for full := 0; p.goesOn(tick.C); {
		fd, err := p.open()
		if err != nil {
			p.c.m.cfg.Log.Warn("nobody sees to it that a task's output is read", "task_id", p.c.state.TaskID, "error", err)
			return
		}
		if full++; !isFull(fd) {
			full = 0
		}
		if full > looks && p.unread(fd) {
			p.drop(fd)
			full = 0
		}
		_ = unix.Close(fd) // nothing was written
	}
}

// goesOn waits, and is false when there is nothing more to wait for.
func (p pipe) goesOn(tick <-chan time.Time) bool {
	select {
	case <-p.c.done:
		return false
	case <-p.c.m.closing:
		return false
	case <-tick:
		return true
	}
}

// open opens the pipe once more, so that reading does not wait. It is no
// os.File, which would make it wait.
func (p pipe) open() (fd int, err error) {
	place, err := unix.Open(p.HostPath, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p.HostPath, Err: err}
	}
	defer unix.Close(place)
	var stat unix.Stat_t
	if err := unix.Fstat(place, &stat); err != nil || stat.Dev != p.Device || stat.Ino != p.Inode {
		return -1, errors.Join(fmt.Errorf("%s is another file by now", p.HostPath), err)
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// isFull tells whether a writer would have to wait.
func isFull(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLOUT == 0
}

// unread tells whether nobody is there to make room. A reader that is slow, as
// its disk may be, is one.
func (p pipe) unread(fd int) bool {
	read, err := process.HasReader(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		p.c.m.cfg.Log.Error("looking for who reads a task's output", "task_id", p.c.state.TaskID, "error", err)
	}
	return err == nil && !read
}

// drop makes room until somebody else does, and tells how much is lost.
func (p pipe) drop(fd int) {
	p.c.event(fmt.Sprintf("Nomad's log collector of this task has ended and %s is full: what the task prints there is dropped until the agent starts a new one", p.name))
	dropped := 0
	defer func() { p.c.event(fmt.Sprintf("%d bytes of %s were dropped", dropped, p.name)) }()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		dropped += empty(fd)
		select {
		case <-p.c.done:
			return
		case <-p.c.m.closing:
			return
		case <-look.C:
			if !p.unread(fd) {
				return
			}
		default:
		}
	}
}

// empty reads what is there, or some of it where more comes all the time.
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
