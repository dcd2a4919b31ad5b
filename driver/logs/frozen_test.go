package logs

import (
	"fmt"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/freeze"
)

// frozen returns a node with a task and a stopped collector. Later output of the task stays in its
// FIFO.
func frozen(t *testing.T) (n *node, c *Client, dir, logDir string, w *os.File) {
	t.Helper()
	n = newNode(t)
	n.cfg.AnswerTimeout = time.Second
	c = n.client()
	dir, logDir, w = n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, h.Close()) })
	pid := n.started()[0]
	freeze.Process(t, pid)
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) }) // the test ends it, unless it failed
	_, err = fmt.Fprintln(w, "printed meanwhile")
	must.NoError(t, err)
	return n, c, dir, logDir, w
}

// A frozen collector is killed at the next request of any kind, and its successor collects all
// output.
func TestClient_FrozenCollector(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, n *node, c *Client, dir string) *Client{
		"attach": func(t *testing.T, n *node, c *Client, _ string) *Client {
			other, _, w := n.task("other")
			h, err := c.Attach(ctx(t), other)
			must.NoError(t, err)
			must.NoError(t, w.Close())
			must.NoError(t, c.Drain(ctx(t), other))
			must.NoError(t, h.Close())
			return c
		},
		"drain": func(_ *testing.T, _ *node, c *Client, _ string) *Client { return c },
		"next client": func(t *testing.T, n *node, c *Client, _ string) *Client {
			must.NoError(t, c.Close())
			return n.client()
		},
		"nothing": func(_ *testing.T, n *node, c *Client, _ string) *Client {
			n.eventually("the next collector", func() bool { return len(n.started()) > 1 })
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, c, dir, logDir, w := frozen(t)
			begin := time.Now()
			c = ask(t, n, c, dir)
			must.NoError(t, w.Close())
			must.NoError(t, c.Drain(ctx(t), dir))
			must.Less(t, startTimeout, time.Since(begin))
			_, contents := read(t, logDir, "web.stdout")
			must.Eq(t, []string{"printed meanwhile\n"}, contents)
			// On a busy machine the next one may time out as well.
			must.GreaterEq(t, 2, len(n.started()))
		})
	}
}

// Close returns immediately, and does not kill the collector.
func TestClient_CloseFrozenCollector(t *testing.T) {
	n, c, dir, logDir, w := frozen(t)
	asked := make(chan error, 1)
	go func() { asked <- c.Drain(ctx(t), dir) }()
	begin := time.Now()
	must.NoError(t, c.Close())
	must.Less(t, startTimeout/2, time.Since(begin))
	must.Error(t, <-asked)
	must.NoError(t, unix.Kill(n.started()[0], unix.SIGCONT))
	must.NoError(t, w.Close())
	must.NoError(t, n.client().Drain(ctx(t), dir))
	_, contents := read(t, logDir, "web.stdout")
	must.Eq(t, []string{"printed meanwhile\n"}, contents)
	must.FileExists(t, filepath.Join(logDir, "web.stdout.0"))
}

// frozenConn is the connection of a frozen process: it has sent requests and reads no response.
type frozenConn struct {
	net.Conn
	closed chan struct{}
}

func (m frozenConn) Read([]byte) (int, error) {
	<-m.closed
	return 0, net.ErrClosed
}

// A plugin that is frozen after many requests does not block the collector: the requests of the
// next plugin are answered, and every line is written.
func TestCollector_FrozenClient(t *testing.T) {
	n := newNode(t)
	c := n.client()
	dir, logDir, w := n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	address, done, err := socketAddress(n.cfg.Dir)
	must.NoError(t, err)
	defer done()
	conn, err := net.DialUnix("unix", nil, address)
	must.NoError(t, err)
	closed := make(chan struct{})
	frozen := rpc.NewClient(frozenConn{conn, closed})
	t.Cleanup(func() { close(closed); _ = frozen.Close() })
	must.NoError(t, conn.SetWriteDeadline(time.Now().Add(testPatience)))
	for range 10 {
		frozen.Go(serviceName+".Notices", Nothing(false), &Notice{}, make(chan *rpc.Call, 1))
	}
	sent := make(chan struct{})
	go func() { // until the socket's buffers are full in both directions
		defer close(sent)
		for range 20_000 {
			frozen.Go(serviceName+".Version", Nothing(false), new(int), make(chan *rpc.Call, 1))
		}
	}()
	for i := range 3 {
		_, err = fmt.Fprintln(w, "line", i)
		must.NoError(t, err)
		other, _, otherOut := n.task(fmt.Sprintf("other%d", i))
		begin := time.Now()
		next := n.client()
		oh, err := next.Attach(ctx(t), other)
		must.NoError(t, err)
		must.NoError(t, otherOut.Close())
		must.NoError(t, next.Drain(ctx(t), other))
		must.NoError(t, oh.Close())
		must.Less(t, startTimeout, time.Since(begin))
	}
	must.NoError(t, w.Close())
	must.NoError(t, n.client().Drain(ctx(t), dir))
	must.NoError(t, h.Close())
	_, contents := read(t, logDir, "web.stdout")
	must.Eq(t, []string{"line 0\nline 1\nline 2\n"}, contents)
	must.Len(t, 1, n.started())
	must.NoError(t, conn.Close())
	<-sent
}
