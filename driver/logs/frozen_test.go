package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

// frozen is a node with a task and a collector that is stopped by a signal.
// Later output of the task is in its FIFO.
func frozen(t *testing.T) (n *node, c *Client, dir, logDir string, w *os.File) {
	t.Helper()
	n = newNode(t)
	n.cfg.AnswerTimeout = 300 * time.Millisecond
	c = n.client()
	dir, logDir, w = n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, h.Close()) })
	pid := n.started()[0]
	must.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) }) // the test ends it, unless it failed
	_, err = fmt.Fprintln(w, "printed meanwhile")
	must.NoError(t, err)
	return n, c, dir, logDir, w
}

// A collector that is frozen is killed, whatever is asked of it, and the next
// one has all that was printed.
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
			must.Len(t, 2, n.started())
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
