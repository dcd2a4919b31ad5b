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

// startTimeout bounds how long a collector may take to listen.
const startTimeout = 10 * time.Second

// startRetryDelay is the delay between attempts to connect to or start a collector.
const startRetryDelay = 5 * time.Millisecond

// Config configures a Client and its collector.
type Config struct {
	// Dir holds the collector's socket, lock and error log.
	Dir string
	// Tasks is a filepath.Match pattern of the directories that contain the tasks'
	// SpecFiles.
	Tasks string
	// Place is called with the PID of a new collector, so that it can be moved to a
	// cgroup. It may be nil.
	Place func(pid int) error
	// Notice is called with notices for a task's author. It may be nil.
	Notice func(Notice)
	// AnswerTimeout is how long a collector may take for a call that it answers from
	// memory. A slower one hangs and is killed, which loses no output, and the next
	// one takes over its tasks. Zero means 3 seconds.
	AnswerTimeout time.Duration
	// Broken is called when the collector died and no other could be started.
	Broken func(error)
}

// Client uses a log collector to collect the output of tasks. While it is open a
// collector runs: one that dies or hangs is replaced. Its methods are safe for
// concurrent use.
type Client struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	turn   chan struct{} // holds an element while a collector is connected to or started

	mu       sync.Mutex // never held during a call to the collector
	peer     *peer
	counts   Counts // of collectors that have ended, as last read
	closed   bool
	watchers sync.WaitGroup
}

// NewClient returns a client. It connects to a collector on first use.
func NewClient(cfg Config) *Client {
	cfg.AnswerTimeout = cmp.Or(cfg.AnswerTimeout, answerTimeout)
	ctx, cancel := context.WithCancel(context.Background())
	return &Client{cfg: cfg, ctx: ctx, cancel: cancel, turn: make(chan struct{}, 1)}
}

// Start starts a collector if none is running.
func (c *Client) Start(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// Attach starts collecting the output of the task with its SpecFile and FIFOs in dir.
// The caller must close the HeldFIFOs after Drain.
func (c *Client) Attach(ctx context.Context, dir string) (*HeldFIFOs, error) {
	h, err := holdFIFOs(dir)
	if err != nil {
		return nil, err
	}
	if err := c.call(ctx, "Attach", filepath.Join(dir, SpecFile)); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Drain returns when all output of the task is in its files. All processes that could
// write output must have ended.
func (c *Client) Drain(ctx context.Context, dir string) error {
	return c.call(ctx, "Drain", filepath.Join(dir, SpecFile))
}

// Counts returns the totals of the present collector, and of those before it as far as they were
// read. It starts no collector.
func (c *Client) Counts(ctx context.Context) Counts {
	p, err := c.current()
	if p != nil && err == nil {
		p.count(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil {
		return c.counts
	}
	return c.counts.plus(c.peer.counted())
}

// Close disconnects. The collector keeps running while there are tasks.
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

// call makes a call, and repeats it if the collector died or was replaced.
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

// forget drops a broken connection.
func (c *Client) forget(p *peer) (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == p {
		c.peer = nil
		c.counts = c.counts.plus(p.counted())
	}
	_ = p.Close() // already broken
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

// connect returns the connection to a collector. It starts a collector if none
// answers or the running one uses another protocol version.
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
		return nil, fmt.Errorf("another start of the log collector took longer than %s: %w", startTimeout, ctx.Err())
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
			return c.setPeer(p)
		}
		if serr := c.spawn(ctx); serr != nil {
			return nil, errors.Join(serr, err, c.errorLog())
		}
	}
}

// setPeer makes p the current connection.
func (c *Client) setPeer(p *peer) (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(errClosed, p.Close())
	}
	c.peer = p
	c.watchers.Go(func() { c.watch(p) })
	return p, nil
}

// errorLog returns the error log of the last collector that was started.
func (c *Client) errorLog() error {
	b, err := bounds.ReadFile(filepath.Join(c.cfg.Dir, "log"), maxErrorLogBytes)
	if err != nil || len(b) == 0 {
		return nil
	}
	return errors.New(bounds.Text(string(b)))
}

const maxErrorLogBytes = 1 << 20

// watch forwards notices. When the collector dies it immediately starts another,
// since tasks block once their pipes are full.
func (c *Client) watch(p *peer) {
	p.notices(c.cfg.Notice)
	if c.forget(p) {
		return
	}
	if _, err := c.connect(c.ctx); err != nil && c.ctx.Err() == nil && c.cfg.Broken != nil {
		c.cfg.Broken(err)
	}
}

// spawn starts a collector. It returns when the collector listens, or has exited
// because another one is running.
func (c *Client) spawn(ctx context.Context) error {
	errorLog, err := os.OpenFile(filepath.Join(c.cfg.Dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer errorLog.Close()
	started, startedW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer started.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{processName, c.cfg.Dir, c.cfg.Tasks}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stderr = errorLog
	cmd.ExtraFiles = []*os.File{startedW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process
	err = errors.Join(cmd.Start(), startedW.Close())
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // its error log has the reason
	if c.cfg.Place != nil {
		if err := c.cfg.Place(cmd.Process.Pid); err != nil {
			return errors.Join(err, cmd.Process.Kill())
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = started.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := started.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		// It holds the lock, which keeps others from starting.
		return errors.Join(fmt.Errorf("log collector did not start within %s: %w", startTimeout, err), cmd.Process.Kill())
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startRetryDelay): // an exiting collector may still hold the lock
		return nil
	}
}

// HeldFIFOs are a task's FIFOs, held open so that their content survives if no other process has
// them open.
type HeldFIFOs struct{ fifos []int }

func holdFIFOs(dir string) (*HeldFIFOs, error) {
	spec, err := readSpec(filepath.Join(dir, SpecFile))
	if err != nil {
		return nil, err
	}
	h := &HeldFIFOs{}
	for _, st := range spec.Streams {
		// An os.File would wake this process on every write.
		path := filepath.Join(dir, st.FIFO)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: err}, h.Close())
		}
		h.fifos = append(h.fifos, fd)
	}
	return h, nil
}

// Close closes the FIFOs. It may be called on nil and repeatedly.
func (h *HeldFIFOs) Close() error {
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
