package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"github.com/hashicorp/nomad/plugins/drivers/testutils"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// idle starts a task that runs until it is stopped.
func idle(t *testing.T, runtime string) (*node, *task) {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
	tk := n.newTask("", "idle", sh("trap 'exit 0' TERM; echo up; sleep 600 & wait"), nil)
	tk.start()
	tk.output("stdout", contains("up"))
	return n, tk
}

// Trap D16: Nomad's own conformance tests.
func TestExec_Conformance(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		testutils.TestExecTaskStreamingBasicResponses(t, n.DriverHarness, tk.ID)
		if v, err := cgroup.Detect(); err == nil && v == cgroup.V2 {
			t.Log("skip the isolation part: on cgroup v2 it reads the path of the cgroup, which a cgroup namespace hides")
			return
		}
		testutils.TestExecFSIsolation(t, n.DriverHarness, tk.ID)
	})
}

// TestExec_NoDeviceOfHost checks that a command without input does not get the host's /dev/null: it
// could change the mode and owner of that file.
func TestExec_NoDeviceOfHost(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		result, err := n.ExecTask(tk.ID, []string{"/bin/sh", "-c",
			"for i in 0 1 2; do stat -L -c %F /proc/self/fd/$i; done; read -r line || echo end"}, time.Minute)
		must.NoError(t, err)
		must.Eq(t, "fifo\nfifo\nfifo\nend\n", string(result.Stdout), must.Sprintf("%s", result.Stderr))
	})
}

// client is the client side of "nomad alloc exec".
type client struct {
	ctx      context.Context
	send     chan *drivers.ExecTaskStreamingRequestMsg // closed at the end of input
	broken   chan struct{}                             // closed when the connection breaks
	mu       sync.Mutex
	stdout   bytes.Buffer
	stderr   bytes.Buffer
	onStdout func(stdout string) // called with all output when more arrives
	code     int
}

func newClient(ctx context.Context) *client {
	return &client{ctx: ctx, send: make(chan *drivers.ExecTaskStreamingRequestMsg), broken: make(chan struct{}), code: -1}
}

var errBroken = errors.New("transport is closing")

func (c *client) Recv() (*drivers.ExecTaskStreamingRequestMsg, error) {
	select {
	case m, ok := <-c.send:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-c.broken:
		return nil, errBroken
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

func (c *client) Send(m *drivers.ExecTaskStreamingResponseMsg) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Stdout != nil {
		c.stdout.Write(m.Stdout.Data)
		if c.onStdout != nil {
			c.onStdout(c.stdout.String())
		}
	}
	if m.Stderr != nil {
		c.stderr.Write(m.Stderr.Data)
	}
	if m.Exited {
		c.code = int(m.Result.ExitCode)
	}
	return nil
}

// stream runs a command in the task for a client, over Nomad's streaming API.
func (tk *task) stream(c *client, tty bool, command ...string) error {
	return tk.n.impl.ExecTaskStreamingRaw(c.ctx, tk.ID, command, tty, c)
}

// Trap D16.
func TestExec_LargeOutput(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		const size = 50 << 20
		for _, tty := range []bool{false, true} {
			c := newClient(ctx)
			close(c.send)
			must.NoError(t, tk.stream(c, tty, "/bin/sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size)))
			must.Eq(t, 0, c.code)
			must.Eq(t, size, c.stdout.Len(), must.Sprintf("tty %v", tty))
		}
	})
}

// Trap D16.
func TestExec_HundredResizes(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		c := newClient(ctx)
		// Resize only after the program has started: a runtime may read an earlier size once and
		// never again.
		c.onStdout = func(text string) {
			if !strings.Contains(text, "started") {
				return
			}
			c.onStdout = nil
			go c.sendResizes(100) // ends when all resizes were received
		}
		must.NoError(t, tk.stream(c, true, "/bin/sh", "-c",
			"echo started; until [ \"$(stty size)\" = '100 300' ]; do :; done; stty size"))
		must.Eq(t, 0, c.code)
		must.StrContains(t, c.stdout.String(), "100 300")
	})
}

// sendResizes enlarges the terminal by one row and one column n times, and ends the input.
func (c *client) sendResizes(n int32) {
	defer close(c.send)
	for i := int32(1); i <= n; i++ {
		c.send <- &drivers.ExecTaskStreamingRequestMsg{
			TtySize: &proto.ExecTaskStreamingRequest_TerminalSize{Height: i, Width: 200 + i},
		}
	}
}

func stdin(text string) *drivers.ExecTaskStreamingRequestMsg {
	return &drivers.ExecTaskStreamingRequestMsg{Stdin: &proto.ExecTaskStreamingIOOperation{Data: []byte(text)}}
}

// Trap D16: input after the end of input is not an error.
func TestExec_InputAfterEOF(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		c := newClient(ctx)
		go func() { // ends when all input was received
			defer close(c.send)
			c.send <- stdin("first\n")
			c.send <- &drivers.ExecTaskStreamingRequestMsg{Stdin: &proto.ExecTaskStreamingIOOperation{Close: true}}
			c.send <- stdin("late\n")
		}()
		must.NoError(t, tk.stream(c, false, "/bin/sh", "-c", "cat; exit 9"))
		must.Eq(t, 9, c.code)
		must.Eq(t, "first\n", c.stdout.String())
	})
}

// Trap D16.
func TestExec_EndsWithClient(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		_, tk := idle(t, runtime)
		for _, tty := range []bool{false, true} {
			ctx, cancel := context.WithCancel(context.Background())
			tk.checkEndsWith(newClient(ctx), tty, cancel)
			c := newClient(context.Background())
			tk.checkEndsWith(c, tty, func() { close(c.broken) })
		}
	})
}

// checkEndsWith runs a command for a client and checks that it ends when the client disconnects.
func (tk *task) checkEndsWith(c *client, tty bool, leave func()) {
	t := tk.n.t
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- tk.stream(c, tty, "/bin/sh", "-c", "exec sleep 424242") }()
	tk.n.waitFor("the command to run", func() bool { return strings.Contains(tk.exec("ps -eo args"), "sleep 424242") })
	leave()
	select {
	case err := <-done:
		must.ErrorIs(t, err, context.Canceled)
	case <-time.After(maxWait):
		t.Fatal("exec did not end after its client")
	}
	tk.n.waitFor("the command to be gone", func() bool { return !strings.Contains(tk.exec("ps -eo args"), "sleep 424242") })
}

func TestExec_Errors(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		for _, c := range []struct {
			command, want string
			code          int
		}{
			{"/no/such/program", "not found in the task's file system", 127},
			{"no-such-program", "not found in PATH (", 127},
			{"/etc/passwd", "permission denied; it must be a file that the task's user may execute", 126},
			{"/usr", "permission denied; it must be a file that the task's user may execute", 126},
		} {
			result, err := n.ExecTask(tk.ID, []string{c.command}, maxWait)
			must.NoError(t, err)
			must.Eq(t, c.code, result.ExitResult.ExitCode, must.Sprintf("%s: %s", c.command, result.Stderr))
			must.StrHasPrefix(t, fmt.Sprintf("exec failed: command %q", c.command), string(result.Stderr))
			must.StrContains(t, string(result.Stderr), c.want)
			must.Eq(t, 1, strings.Count(string(result.Stderr), "\n"), must.Sprintf("%s: %s", c.command, result.Stderr))
		}
		_, err := n.ExecTask(tk.ID, []string{"/bin/sleep", "600"}, 300*time.Millisecond)
		must.ErrorContains(t, err, "deadline exceeded")
		_, err = n.ExecTask("no-such-task", []string{"/bin/true"}, maxWait)
		must.ErrorContains(t, err, drivers.ErrTaskNotFound.Error())
		must.NoError(t, n.StopTask(tk.ID, maxWait, "SIGKILL"))
		tk.wait()
		result, err := n.ExecTask(tk.ID, []string{"/bin/true"}, maxWait)
		must.NoError(t, err)
		must.Eq(t, 125, result.ExitResult.ExitCode)
		must.StrContains(t, string(result.Stderr), "has ended")
	})
}

// TestExec_BackgroundChild checks that a child that holds the output open does not keep a command
// from ending, and is not killed by a pipe that ends with the command.
func TestExec_BackgroundChild(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		begin := time.Now()
		result, err := n.ExecTask(tk.ID, []string{"/bin/sh", "-c",
			"(sleep 4; echo late; echo alive > /tmp/alive; exec sleep 1000) & echo started; exit 7"}, maxWait)
		must.NoError(t, err)
		must.Eq(t, 7, result.ExitResult.ExitCode)
		must.Eq(t, "started\n", string(result.Stdout))
		must.Less(t, maxWait/2, time.Since(begin))
		tk.n.waitFor("the child to continue", func() bool { return strings.Contains(tk.exec("cat /tmp/alive || true"), "alive") })
	})
}

// TestExec_ExitOfCommand checks that a command that closes its output early, or is ended by a
// signal of its own, reports its exit code.
func TestExec_ExitOfCommand(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n, tk := idle(t, runtime)
		for script, want := range map[string]int{
			"exec >&- 2>&-; exit 3": 3, "kill -9 $$": 137, "kill -TERM $$": 143, "yes | head -1 >/dev/null; exit 0": 0, "exit 255": 255,
		} {
			result, err := n.ExecTask(tk.ID, []string{"/bin/sh", "-c", script}, maxWait)
			must.NoError(t, err)
			must.Eq(t, want, result.ExitResult.ExitCode, must.Sprint(script))
		}
	})
}
