package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
)

// startTimeout bounds how long a collector takes to begin to listen.
const startTimeout = 10 * time.Second

// respite is between two tries to find or start a collector.
const respite = 5 * time.Millisecond

// Config says where a collector lives.
type Config struct {
	// Dir is for its socket, its lock and what it complains of.
	Dir string
	// Tasks is a pattern, as of filepath.Match, of the directories in which
	// tasks have their SpecFile.
	Tasks string
	// Place is called with the process id of a new collector, so that it can
	// be moved to a cgroup. It may be nil.
	Place func(pid int) error
	// Notice is told what the author of a task should know. It may be nil.
	Notice func(Notice)
	// AnswerTimeout is how long a collector may take to answer a call that it
	// answers from memory. One that takes longer is frozen: it is killed, which
	// loses no output, and the next one takes over its tasks. Zero is 3 seconds.
	AnswerTimeout time.Duration
	// Broken is told when the collector died and no other could be started.
	Broken func(error)
}

// Client has tasks' output collected. As long as it is open there is a
// collector: one that dies or answers nothing is replaced. Its methods may be
// called concurrently.
type Client struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	turn   chan struct{} // holds an element while a collector is connected to or started

	mu       sync.Mutex // never held during a call to the collector
	peer     *peer
	closed   bool
	watchers sync.WaitGroup
}

// NewClient makes nothing yet: that begins with the first task.
func NewClient(cfg Config) *Client {
	cfg.AnswerTimeout = cmp.Or(cfg.AnswerTimeout, answerTimeout)
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{cfg: cfg, ctx: ctx, cancel: cancel, turn: make(chan struct{}, 1)}
}

// Start has a collector run, where none does.
func (c *Client) Start(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// Attach has the output of a task collected, whose SpecFile and FIFOs are in a
// directory. The Holder must be closed after Drain.
func (c *Client) Attach(ctx context.Context, dir string) (*Holder, error) {
	h, err := hold(dir)
	if err != nil {
		return nil, err
	}
	if err := c.call(ctx, "Attach", filepath.Join(dir, SpecFile)); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Drain returns when all that a task has printed is in its files. No process
// may be left that could print.
func (c *Client) Drain(ctx context.Context, dir string) error {
	return c.call(ctx, "Drain", filepath.Join(dir, SpecFile))
}

// Close lets the collector go on alone, as long as there are tasks.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	c.closed = true
	p := c.peer
	c.peer = nil
	c.mu.Unlock()
	var err error
	if p != nil {
		err = p.Close()
	}
	c.watchers.Wait()
	return err
}

// call makes a call, and again if the collector died or was replaced meanwhile.
func (c *Client) call(ctx context.Context, method, specPath string) error {
	const tries = 3
	var err error
	for range tries {
		var p *peer
		if p, err = c.connect(ctx); err != nil {
			break
		}
		err = p.call(ctx, method, specPath)
		var answer rpc.ServerError
		if err == nil || errors.As(err, &answer) || ctx.Err() != nil {
			break
		}
		c.forget(p)
	}
	if err != nil {
		return fmt.Errorf("log collector: %w", err)
	}
	return nil
}

// forget drops a connection that broke.
func (c *Client) forget(p *peer) (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == p {
		c.peer = nil
	}
	_ = p.Close() // it is broken
	return c.closed
}

// current returns the connection to the collector, or nil.
func (c *Client) current() (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	return c.peer, nil
}

var errClosed = errors.New("closed")

// connect gives the connection to a collector, and starts one if none
// answers or it speaks another version.
func (c *Client) connect(ctx context.Context) (*peer, error) {
	if p, err := c.current(); p != nil || err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("another start of it took longer than %s: %w", startTimeout, ctx.Err())
	}
	if p, err := c.current(); p != nil || err != nil {
		return p, err
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	for {
		p, err := dial(c.cfg)
		if err == nil {
			return c.keep(p)
		}
		if serr := c.spawn(ctx); serr != nil {
			return nil, errors.Join(serr, err, c.complaints())
		}
	}
}

// keep makes a connection the current one.
func (c *Client) keep(p *peer) (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(errClosed, p.Close())
	}
	c.peer = p
	c.watchers.Go(func() { c.watch(p) })
	return p, nil
}

// complaints are what the last collector that was started has to say.
func (c *Client) complaints() error {
	b, err := bounds.ReadFile(filepath.Join(c.cfg.Dir, "log"), maxComplaintsBytes)
	if err != nil || len(b) == 0 {
		return nil
	}
	return errors.New(bounds.Text(string(b)))
}

const maxComplaintsBytes = 1 << 20

// watch passes notices on. When the collector dies it starts the next one at
// once, since tasks wait when their pipes are full.
func (c *Client) watch(p *peer) {
	p.notices(c.cfg.Notice)
	if c.forget(p) {
		return
	}
	if _, err := c.connect(c.ctx); err != nil && c.ctx.Err() == nil && c.cfg.Broken != nil {
		c.cfg.Broken(err)
	}
}

// spawn starts a collector and returns when it listens, or has ended since
// there is one.
func (c *Client) spawn(ctx context.Context) error {
	complaints, err := os.OpenFile(filepath.Join(c.cfg.Dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer complaints.Close()
	started, startedW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer started.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{processName, c.cfg.Dir, c.cfg.Tasks}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stderr = complaints
	cmd.ExtraFiles = []*os.File{startedW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this one
	err = errors.Join(cmd.Start(), startedW.Close())
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ended is in its complaints
	if c.cfg.Place != nil {
		if err := c.cfg.Place(cmd.Process.Pid); err != nil {
			return errors.Join(err, cmd.Process.Kill())
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = started.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := started.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		// It would hold the lock, and keep others from starting.
		return errors.Join(fmt.Errorf("no start within %s: %w", startTimeout, err), cmd.Process.Kill())
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(respite): // one that is about to end holds the lock still
		return nil
	}
}

// Holder keeps what is in a task's FIFOs while no other process has them open.
type Holder struct{ fifos []int }

func hold(dir string) (*Holder, error) {
	spec, err := readSpec(filepath.Join(dir, SpecFile))
	if err != nil {
		return nil, err
	}
	h := &Holder{}
	for _, st := range spec.Streams {
		// No os.File, which would have this process woken by every write.
		path := filepath.Join(dir, st.FIFO)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: err}, h.Close())
		}
		h.fifos = append(h.fifos, fd)
	}
	return h, nil
}

// Close lets go. It may be called on nil, and again.
func (h *Holder) Close() error {
	if h == nil {
		return nil
	}
	var errs []error
	for _, fd := range h.fifos {
		errs = append(errs, unix.Close(fd))
	}
	h.fifos = nil
	return errors.Join(errs...)
}
