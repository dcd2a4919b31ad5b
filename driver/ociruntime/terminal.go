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

// terminal is where a program's terminal comes from. Its methods are called in
// this order: args, start, started, close.
type terminal interface {
	// args for the runtime's exec.
	args() []string
	// start the runtime.
	start(*exec.Cmd) error
	// started returns our end of the terminal. It waits for it until ended is
	// closed, as it is with the runtime's process.
	started(ended <-chan struct{}) (console.Console, error)
	// close what is not needed without the terminal. Our end is not among it.
	close()
}

// newTerminal prefers what every runtime does well. crun 1.8 looks at the size
// of its own terminal once and tells the container of no later one, so there
// the container's has to be our own. runc gives that only to who does without
// the exit code, but follows each size.
func (r Runtime) newTerminal(dir string) (terminal, error) {
	if r.Name() == "crun" {
		return listenForTerminal(dir)
	}
	return makeTerminal()
}

// outerTerminal is the runtime's own. The runtime makes another one in the
// container and copies between them, sizes included.
type outerTerminal struct {
	master console.Console
	slave  *os.File
}

func makeTerminal() (*outerTerminal, error) {
	master, path, err := console.NewPty()
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	// The terminal in the container echoes and edits lines; this one passes
	// everything on, from before the runtime gets to see it.
	if err := master.SetRaw(); err != nil {
		return nil, errors.Join(err, master.Close())
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
	t.close() // else its end would never be seen
	return t.master, nil
}

func (t *outerTerminal) close() { _ = t.slave.Close() }

// sentTerminal is the container's own. The runtime sends our end of it over a
// socket (--console-socket of crun(1)).
type sentTerminal struct {
	socket *net.UnixListener
	path   string
}

// listenForTerminal makes the socket by way of a descriptor of its directory:
// an address has 107 characters at most (unix(7)), and the path more. crun
// connects to such a path.
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
	l.SetUnlinkOnClose(false) // the descriptor may be another's by then
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
		case <-ended: // whatever it has sent is in the socket already
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

// receiveDescriptor takes the one that comes with the next message.
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
	if err != nil { // the runtime says more of the reason, if it has failed
		<-ended
		return errors.Join(exit, err)
	}
	copied := make(chan struct{})
	go func() { // ends with EIO once nobody has the terminal any more
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

// resize gives the terminal each size that comes, until done.
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
