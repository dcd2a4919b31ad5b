package pod

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// Check is one way to ask a task whether it works, in the task's namespaces. Exactly
// one field is set.
type Check struct {
	Exec []string `json:"exec,omitempty"` // a command in the task that must exit with 0
	HTTP string   `json:"http,omitempty"` // a URL that must return a status from 200 to 399
	TCP  string   `json:"tcp,omitempty"`  // an address that must accept connections
	File string   `json:"file,omitempty"` // a path in the task that must exist
}

func (k Check) String() string {
	switch {
	case len(k.Exec) > 0:
		return "exec " + strings.Join(k.Exec, " ")
	case k.HTTP != "":
		return "http " + k.HTTP
	case k.TCP != "":
		return "tcp " + k.TCP
	}
	return "file " + k.File
}

// brokenCheck is the error of a check that the node could not run. It says nothing
// about the task.
type brokenCheck struct{ error }

func (e brokenCheck) Unwrap() error { return e.error }

// try runs the check once.
func (c *Container) try(ctx context.Context, k Check) error {
	switch {
	case len(k.Exec) > 0:
		return c.tryExec(ctx, k.Exec)
	case k.HTTP != "":
		return c.tryHTTP(ctx, k.HTTP)
	case k.TCP != "":
		conn, err := c.dial(ctx, k.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return c.tryFile(k.File)
}

func (c *Container) tryExec(ctx context.Context, args []string) error {
	var output bounds.Ring
	code, err := c.Exec(ctx, args, ociruntime.ExecOptions{Stdout: &output, Stderr: &output})
	if err != nil && ctx.Err() == nil && !errors.Is(err, ociruntime.ErrNoProgram) && !errors.Is(err, ociruntime.ErrNotExecutable) {
		return brokenCheck{err}
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("exit code %d: %s", code, output.LastLine())
	}
	return nil
}

// maxHeaderBytes is the default of most servers.
const maxHeaderBytes = 16 << 10

// tryHTTP sends a request on a connection of its own. It follows no redirect and reads
// no body, which may be endless. An http.Transport would cost three times as much.
func (c *Container) tryHTTP(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Close = true
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	conn, err := c.dial(ctx, hostPort(req.URL))
	if err != nil {
		return err
	}
	defer conn.Close()
	if req.URL.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: req.URL.Hostname()})
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	status, err := readStatus(bufio.NewReader(io.LimitReader(conn, maxHeaderBytes)), req)
	if err != nil {
		return err
	}
	if status < http.StatusOK || status >= http.StatusBadRequest {
		return fmt.Errorf("status %d %s", status, http.StatusText(status))
	}
	return nil
}

// readStatus returns the status of the first response that is not provisional.
func readStatus(r *bufio.Reader, req *http.Request) (int, error) {
	for {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return 0, err
		}
		if res.StatusCode >= http.StatusOK || res.StatusCode == http.StatusSwitchingProtocols {
			return res.StatusCode, nil
		}
	}
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), u.Scheme) // the name of the port
}

func (c *Container) tryFile(path string) error {
	root, err := c.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	err = existsInRoot(openedPath(root), path)
	if shortage(err) {
		return brokenCheck{err}
	}
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err // the path that was opened means nothing to a user
	}
	return err
}

// openRoot opens the root of the task's files.
func (c *Container) openRoot() (*os.File, error) {
	if c.state.Gvisor {
		return c.goferRoot()
	}
	return c.openProc("root")
}

// openProc opens a namespace or the root of the task's first process. It checks
// that the process is alive after the open, since its PID may be reused.
func (c *Container) openProc(what string) (*os.File, error) {
	path := fmt.Sprintf("/proc/%d/%s", c.state.Init.PID, what)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, brokenCheck{&os.PathError{Op: "open", Path: path, Err: err}}
	}
	f := os.NewFile(uintptr(fd), path)
	if !c.initAlive() {
		return nil, brokenCheck{errors.Join(process.ErrGone, f.Close())}
	}
	return f, nil
}

// initAlive reports whether the first process of the task has not been reaped.
func (c *Container) initAlive() bool {
	c.handles.Lock()
	defer c.handles.Unlock()
	if c.init == nil {
		return c.state.Init.Alive()
	}
	return c.init.Signal(0) == nil // costs less than reading /proc
}

// openedPath returns a path to the open file itself.
func openedPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// shortage reports whether an error means that this process, or the node, is out of
// descriptors, memory, processes or ports.
func shortage(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EAGAIN, unix.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
