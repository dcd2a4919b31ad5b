package logs

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// protocolVersion is the version of the RPC protocol. A client that finds another
// version makes the collector exit and starts its own.
const protocolVersion = 2

// drainTimeout bounds how long Drain waits for a task's output.
const drainTimeout = 5 * time.Second

// collector is the process that serves a node.
type collector struct {
	mu      sync.Mutex
	tasks   map[string][]*stream // by the path of the SpecFile
	clients int
	idle    chan struct{} // closed when there is neither a client nor a task
	quit    bool
	notices chan Notice
	count   counters
}

// Counts are totals of a collector since its start.
type Counts struct {
	Bytes        int64 // of output, written to files
	Stalls       int64 // files that could not be written to, so that their task was blocked
	Dropped      int64 // bytes of output, after a stall
	IndexDropped int64 // files without a link in the index
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Bytes + d.Bytes, c.Stalls + d.Stalls, c.Dropped + d.Dropped, c.IndexDropped + d.IndexDropped}
}

// counters are the Counts of a running collector.
type counters struct{ bytes, stalls, dropped, indexDropped atomic.Int64 }

// Notice is a message for a task's author.
type Notice struct {
	SpecPath string
	Text     string
}

// Nothing is an empty argument or result. encoding/gob does not support an empty
// struct.
type Nothing bool

// Session is a client's connection to the collector. Its exported methods are the
// net/rpc calls of Client.
type Session struct {
	c    *collector
	gone <-chan struct{} // closed with the connection
}

// connection reports its own end. Package rpc does so only after all calls have
// returned, and Notices blocks.
type connection struct {
	net.Conn
	gone func()
}

func (c connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.gone()
	}
	return n, err
}

// Version returns the protocol version.
func (s *Session) Version(_ Nothing, version *int) error {
	*version = protocolVersion
	return nil
}

// Counts returns the totals.
func (s *Session) Counts(_ Nothing, counts *Counts) error {
	c := &s.c.count
	*counts = Counts{c.bytes.Load(), c.stalls.Load(), c.dropped.Load(), c.indexDropped.Load()}
	return nil
}

// Attach starts to collect the streams of a SpecFile. It returns nil if they are
// collected already.
func (s *Session) Attach(specPath string, _ *Nothing) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.attach(specPath)
}

func (c *collector) attach(specPath string) error {
	if c.tasks[specPath] != nil || c.quit {
		return nil
	}
	spec, err := readSpec(specPath)
	if err != nil {
		return err
	}
	var streams []*stream
	for _, st := range spec.Streams {
		s, err := c.newStream(specPath, spec, st)
		if err != nil {
			for _, s := range streams {
				err = errors.Join(err, s.release())
			}
			return err
		}
		streams = append(streams, s)
	}
	c.tasks[specPath] = streams
	for _, s := range streams {
		go s.run()
	}
	return nil
}

func (c *collector) newStream(specPath string, spec Spec, st Stream) (_ *stream, err error) {
	dir, err := openBeneath(spec.AllocDir, spec.Dir)
	if err != nil {
		return nil, err
	}
	fifo, err := openFIFO(filepath.Join(filepath.Dir(specPath), st.FIFO))
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	s := &stream{
		fifo: fifo, done: make(chan struct{}), count: &c.count,
		files: files{
			dir: dir, base: st.Base, maxFiles: spec.MaxFiles, maxBytes: spec.MaxBytes,
			links: newLinks(spec.Index, st.FIFO, dir.Name(), func() { c.count.indexDropped.Add(1) }),
		},
		tell: func(text string) { c.notify(Notice{specPath, text}) },
	}
	// Open the files now, so that a wrong directory fails the start of the task, and
	// readers find a file immediately.
	if err := s.files.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// openBeneath opens a directory below a trusted one and follows no symbolic link,
// since tasks can write there.
func openBeneath(root, name string) (*os.File, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(fd)
	path := filepath.Join(root, name)
	below, err := unix.Openat2(fd, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS, // magic links included
	})
	if err != nil {
		return nil, &os.PathError{Op: "open without following links", Path: path, Err: err}
	}
	return os.NewFile(uintptr(below), path), nil
}

func openFIFO(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
}

// Drain returns when all output is in the files and forgets the task. The last
// process that writes output must have ended, otherwise Drain fails after
// drainTimeout. It returns nil for an unknown task.
func (s *Session) Drain(specPath string, _ *Nothing) error { return s.c.drain(specPath) }

func (c *collector) drain(specPath string) error {
	c.mu.Lock()
	streams := c.tasks[specPath]
	c.mu.Unlock()
	late := time.After(drainTimeout)
	var errs []error
	for _, s := range streams {
		select {
		case <-s.done:
			continue
		case <-late:
		}
		// Only a process outside of the task can still hold it open.
		errs = append(errs, fmt.Errorf("output for %s did not end within %s", s.files.base, drainTimeout), s.fifo.Close())
		<-s.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tasks, specPath)
	c.exitIfIdle()
	return errors.Join(errs...)
}

// Notices blocks until the next notice.
func (s *Session) Notices(_ Nothing, n *Notice) error {
	select {
	case *n = <-s.c.notices:
		return nil
	case <-s.gone:
		return net.ErrClosed
	}
}

func (c *collector) notify(n Notice) {
	log.Print(n.SpecPath, ": ", n.Text)
	select {
	case c.notices <- n:
	default: // no client has called Notices for a long time
	}
}

// Quit makes the collector exit although there are tasks. Another one takes over.
func (s *Session) Quit(_ Nothing, _ *Nothing) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.quit = true
	s.c.exitIfIdle()
	return nil
}

// exitIfIdle makes the collector exit when it has no client and no task.
func (c *collector) exitIfIdle() {
	if c.quit || c.clients == 0 && len(c.tasks) == 0 {
		select {
		case <-c.idle:
		default:
			close(c.idle)
		}
	}
}

// serve accepts connections until the collector is idle.
func (c *collector) serve(listener *net.UnixListener) error {
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.clients++
			c.mu.Unlock()
			go c.serveConn(conn)
		}
	}()
	<-c.idle
	return listener.Close()
}

func (c *collector) serveConn(conn net.Conn) {
	gone := make(chan struct{})
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, &Session{c, gone}); err != nil {
		log.Print(err)
	}
	server.ServeConn(connection{conn, sync.OnceFunc(func() { close(gone) })})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients--
	c.exitIfIdle()
}

// find attaches tasks of an earlier collector by their SpecFiles, which match pattern.
func (c *collector) find(pattern string) error {
	paths, err := filepath.Glob(filepath.Join(pattern, SpecFile))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, path := range paths {
		if err := c.attach(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Print(path, ": ", err)
		}
	}
	return nil
}
