package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// terminal creates a program's terminal. Its methods are called in this order: args,
// start, started, close.
type terminal interface {
	// args returns arguments for the runtime's exec.
	args() []string
	// start starts the runtime.
	start(*exec.Cmd) error
	// started returns the caller's end of the terminal. It blocks until the terminal
	// exists or ended is closed, when the runtime's process has ended.
	started(ended <-chan struct{}) (console.Console, error)
	// close releases everything but the caller's end.
	close()
}

// newTerminal chooses the method that works best with the runtime. crun 1.8 reads the
// size of its own terminal only once and ignores later changes, so the container's
// terminal must be ours. runc passes on the container's terminal only to callers that
// do not need the exit code, but follows each resize.
func (r Runtime) newTerminal(dir string) (terminal, error) {
	if r.Name() == "crun" {
		return listenForTerminal(dir)
	}
	return makeTerminal(!r.Gvisor)
}

// outerTerminal is the runtime's terminal. The runtime creates another one in the
// container and copies between them, sizes included.
type outerTerminal struct {
	master console.Console
	slave  *os.File
}

// makeTerminal creates a raw one, or one that becomes the program's own.
func makeTerminal(raw bool) (*outerTerminal, error) {
	master, path, err := console.NewPty()
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	// The container's terminal echoes and edits lines; this one passes everything
	// on unchanged, before the runtime reads it.
	if raw {
		if err := master.SetRaw(); err != nil {
			return nil, errors.Join(err, master.Close())
		}
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	return &outerTerminal{master: master, slave: slave}, nil
}

func (*outerTerminal) args() []string { return nil }

func (t *outerTerminal) start(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, t.master.Close())
	}
	return nil
}

func (t *outerTerminal) started(<-chan struct{}) (console.Console, error) {
	t.close() // otherwise reads would never return EOF
	return t.master, nil
}

func (t *outerTerminal) close() { _ = t.slave.Close() }

// sentTerminal is the container's own terminal. The runtime sends our end over a
// socket (--console-socket of crun(1)).
type sentTerminal struct {
	socket *net.UnixListener
	path   string
}

// listenForTerminal creates the socket through a descriptor of its directory: an
// address has at most 107 characters (unix(7)), and the path may have more. crun
// supports such a path.
func listenForTerminal(dir string) (*sentTerminal, error) {
	const name = "console"
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	l.SetUnlinkOnClose(false) // the descriptor may be reused by then
	return &sentTerminal{socket: l, path: filepath.Join(dir, name)}, nil
}

func (t *sentTerminal) args() []string {
	return []string{"--console-socket", t.path}
}

func (*sentTerminal) start(cmd *exec.Cmd) error { return cmd.Start() }

func (t *sentTerminal) close() { _ = t.socket.Close() }

func (t *sentTerminal) started(ended <-chan struct{}) (console.Console, error) {
	received := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ended: // anything sent is already in the socket
			_ = t.socket.SetDeadline(time.Now().Add(time.Second))
		case <-received:
		}
	}()
	defer func() { close(received); <-stopped }()

	conn, err := t.socket.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	defer conn.Close()
	fd, err := receiveDescriptor(conn)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	f := os.NewFile(uintptr(fd), "terminal")
	master, err := console.ConsoleFromFile(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("terminal: %w", err), f.Close())
	}
	return master, nil
}

// receiveDescriptor returns the descriptor attached to the next message.
func receiveDescriptor(conn *net.UnixConn) (int, error) {
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(errors.New("the runtime sent no terminal"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("the runtime sent no terminal"), err)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// runOnTerminal returns when the program has ended and its output was copied.
func runOnTerminal(ctx context.Context, cmd *exec.Cmd, t terminal, o ExecOptions) error {
	if err := t.start(cmd); err != nil {
		return err
	}
	var exit error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		exit = cmd.Wait()
	}()
	master, err := t.started(ended)
	if err != nil { // after a failure the runtime's error has more of the reason
		<-ended
		return errors.Join(exit, err)
	}
	copied := make(chan struct{})
	go func() { // ends with EIO once no process has the terminal open
		defer close(copied)
		_, _ = io.Copy(o.Stdout, master)
	}()
	go func() { // ends when the caller closes Stdin, at the latest
		if o.Stdin != nil {
			_, _ = io.Copy(master, o.Stdin)
		}
	}()
	resize(master, o.Resize, ended)
	select {
	case <-copied:
	case <-ctx.Done():
	case <-time.After(cmd.WaitDelay): // a stray child holds the terminal
	}
	return errors.Join(exit, master.Close())
}

// resize sets each size on the terminal, until done is closed.
func resize(master console.Console, sizes <-chan Size, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			// A terminal that is being closed has no size to set.
			_ = master.Resize(console.WinSize{Height: s.Rows, Width: s.Columns})
		}
	}
}
