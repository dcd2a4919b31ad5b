package pod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// Ready configures when a task is ready: when its one check passes. Checks run in
// the task's namespaces.
type Ready struct {
	Exec []string // a command in the task that must exit with 0
	HTTP string   // a URL that must return a status from 200 to 399
	TCP  string   // an address that must accept connections
	File string   // a path in the task that must exist

	Interval time.Duration // between two attempts
	Timeout  time.Duration // for all attempts
}

func (r Ready) String() string {
	switch {
	case len(r.Exec) > 0:
		return "exec " + strings.Join(r.Exec, " ")
	case r.HTTP != "":
		return "http " + r.HTTP
	case r.TCP != "":
		return "tcp " + r.TCP
	}
	return "file " + r.File
}

var (
	errEnded    = errors.New("the task ended before it was ready")
	errNotTried = errors.New("no check completed")
)

// awaitReady blocks until the task is ready. It returns an error if the task ends,
// the timeout expires or ctx is done.
func (c *Container) awaitReady(ctx context.Context, r Ready) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	c.event(fmt.Sprintf("Waiting to be ready: %s", r))
	begin := time.Now()
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	last := errNotTried
	for {
		err := c.try(ctx, r)
		if err != nil && ctx.Err() == nil {
			last = err // skip the error of an attempt that was cut off
		}
		if err == nil {
			c.event(fmt.Sprintf("Ready after %s", time.Since(begin).Round(time.Millisecond)))
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("ready: %w: %s; last check, %s: %w", errEnded, c.exit, r, last)
		case <-ctx.Done():
			return fmt.Errorf("ready: %s did not pass within %s: %w", r, r.Timeout, last)
		case <-tick.C:
		}
	}
}

func (c *Container) try(ctx context.Context, r Ready) error {
	switch {
	case len(r.Exec) > 0:
		return c.tryExec(ctx, r.Exec)
	case r.HTTP != "":
		return c.tryHTTP(ctx, r.HTTP)
	case r.TCP != "":
		conn, err := c.dial(ctx, "tcp", r.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return c.tryFile(r.File)
}

func (c *Container) tryExec(ctx context.Context, args []string) error {
	var output bounds.Ring
	code, err := c.Exec(ctx, args, ociruntime.ExecOptions{Stdout: &output, Stderr: &output})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("exit code %d: %s", code, output.LastLine())
	}
	return nil
}

func (c *Container) tryHTTP(ctx context.Context, url string) error {
	transport := &http.Transport{
		DialContext: c.dial, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHeaderBytes, // status line included
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	err = res.Body.Close() // ignore the body, which may be endless
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("status %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	return err
}

// maxHeaderBytes is the default of most servers.
const maxHeaderBytes = 16 << 10

// dial connects from the task's network namespace. It does not resolve names: the
// host is an IP address or "localhost".
func (c *Container) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "localhost" || host == "" {
		host = "127.0.0.1"
	}
	ns, err := c.openProc("ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	err = namespace.InNetwork(openedPath(ns), func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(host, port))
		return err
	})
	return conn, err
}

func (c *Container) tryFile(path string) error {
	root, err := c.openProc("root")
	if err != nil {
		return err
	}
	defer root.Close()
	err = existsInRoot(openedPath(root), path)
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err // the path that was opened means nothing to a user
	}
	return err
}

// openProc opens a namespace or the root of the task's first process. It checks
// that the process is alive after the open, since its PID may be reused.
func (c *Container) openProc(what string) (*os.File, error) {
	path := fmt.Sprintf("/proc/%d/%s", c.state.Init.PID, what)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if !c.state.Init.Alive() {
		return nil, errors.Join(process.ErrGone, f.Close())
	}
	return f, nil
}

// openedPath returns a path to the open file itself.
func openedPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
