package logs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout is the default of Config.AnswerTimeout.
const answerTimeout = 3 * time.Second

// timeoutsPerCheck is the period of checks of an idle collector: 12 seconds with the
// default. A task with much output blocks no longer than that plus the answerTimeout.
const timeoutsPerCheck = 4

// peer is a connection to a collector and a handle of its process.
type peer struct {
	*rpc.Client
	process *os.Process
	timeout time.Duration // of an answer

	mu     sync.Mutex
	counts Counts // as last read
}

// dial connects to a collector of this program. It makes one of another program or
// protocol version exit, and kills one that does not answer.
func dial(cfg Config) (*peer, error) {
	address, done, err := socketAddress(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := net.DialUnix("unix", nil, address)
	if err != nil {
		return nil, err
	}
	process, err := listenerOf(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	p := &peer{Client: rpc.NewClient(timedConn{conn, cfg.AnswerTimeout}), process: process, timeout: cfg.AnswerTimeout}
	err = p.shakeHands(conn)
	if err == nil {
		return p, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.Join(err, p.kill())
	}
	return nil, errors.Join(err, p.Close())
}

func (p *peer) shakeHands(conn *net.UnixConn) error {
	if err := conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		return err
	}
	var version int
	if err := p.Call(serviceName+".Version", Nothing(false), &version); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	switch {
	case version != protocolVersion:
		err := fmt.Errorf("log collector has protocol version %d", version)
		return errors.Join(err, p.Call(serviceName+".Quit", Nothing(false), new(Nothing)))
	case isReplaced(p.process.Pid):
		return errors.Join(errReplaced, p.Call(serviceName+".Quit", Nothing(false), new(Nothing)))
	}
	return conn.SetReadDeadline(time.Time{})
}

var errReplaced = errors.New("log collector is of another build of the plugin")

// isReplaced reports whether a process runs another file than this one, because this one
// is an upgrade or downgrade. If the file of this process was replaced too, its successor
// replaces the collector.
func isReplaced(pid int) bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	installed, err := os.Stat(path)
	if err != nil || !os.SameFile(own, installed) {
		return false
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && !os.SameFile(own, other)
}

// listenerOf returns a handle of the process at the other end. The process has the
// connection open, so its PID cannot be reused.
func listenerOf(conn *net.UnixConn) (process *os.Process, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var peer *unix.Ucred
		if peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		if process, err = os.FindProcess(int(peer.Pid)); err != nil { // holds a pidfd
			return
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if n, perr := unix.Poll(poll, 0); perr != nil || n > 0 {
			err = errors.Join(errors.New("log collector has exited"), perr, process.Release())
		}
	})
	return process, errors.Join(err, cerr)
}

// call makes an RPC. It kills a collector that hangs.
func (p *peer) call(ctx context.Context, method, specPath string) error {
	pending := p.Go(serviceName+"."+method, specPath, new(Nothing), make(chan *rpc.Call, 1))
	check := time.NewTicker(p.timeout)
	defer check.Stop()
	for {
		select {
		case <-pending.Done:
			return pending.Error
		case <-ctx.Done():
			return ctx.Err()
		case <-check.C: // a slow disk slows down one call, not all of them
			if p.frozen() {
				return p.kill()
			}
		}
	}
}

// count reads the collector's totals. They do not change if the collector does not answer.
func (p *peer) count(ctx context.Context) {
	var counts Counts
	pending := p.Go(serviceName+".Counts", Nothing(false), &counts, make(chan *rpc.Call, 1))
	select {
	case <-pending.Done:
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pending.Error == nil && counts.Bytes >= p.counts.Bytes { // concurrent calls
		p.counts = counts
	}
}

func (p *peer) counted() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// notices forwards notices until the connection ends or the collector hangs and was
// killed.
func (p *peer) notices(notice func(Notice)) {
	check := time.NewTicker(timeoutsPerCheck * p.timeout)
	defer check.Stop()
	for {
		var n Notice
		pending := p.Go(serviceName+".Notices", Nothing(false), &n, make(chan *rpc.Call, 1))
		for waiting := true; waiting; {
			select {
			case <-pending.Done:
				waiting = false
			case <-check.C:
				if p.frozen() {
					_ = p.kill() // which ends the connection
				}
			}
		}
		if pending.Error != nil {
			return
		}
		if notice != nil {
			notice(n)
		}
	}
}

// frozen reports whether the collector does not answer in time. It returns false for
// one that has exited.
func (p *peer) frozen() bool {
	pending := p.Go(serviceName+".Version", Nothing(false), new(int), make(chan *rpc.Call, 1))
	select {
	case <-pending.Done:
		return false
	case <-time.After(p.timeout):
		return true
	}
}

func (p *peer) kill() error {
	err := fmt.Errorf("process %d did not respond within %s and was killed", p.process.Pid, p.timeout)
	if kerr := p.process.Kill(); kerr != nil && !errors.Is(kerr, os.ErrProcessDone) {
		return errors.Join(err, kerr)
	}
	return err
}

// Close may be called repeatedly, and during a call.
func (p *peer) Close() error {
	err := p.Client.Close()
	if errors.Is(err, rpc.ErrShutdown) {
		err = nil // the collector has exited, or it was closed before
	}
	_ = p.process.Release() // returns an error when repeated
	return err
}

// timedConn returns an error if the collector does not receive a message in time.
type timedConn struct {
	*net.UnixConn
	timeout time.Duration
}

func (c timedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.UnixConn.Write(b)
}
