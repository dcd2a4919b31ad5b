package driver

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// execConn is one connection of "nomad alloc exec": what comes in is taken
// apart into input and terminal sizes, what goes out is put together.
type execConn struct {
	stream drivers.ExecTaskStream
	stdin  *io.PipeReader
	input  *io.PipeWriter
	sizes  chan ociruntime.Size

	mu sync.Mutex // a stream takes one Send at a time
}

func newExecConn(stream drivers.ExecTaskStream) *execConn {
	r, w := io.Pipe()
	return &execConn{stream: stream, stdin: r, input: w, sizes: make(chan ociruntime.Size)}
}

// receive takes messages until the stream ends. A stream that breaks, since
// the client went away, cancels the command; one that only ends does not.
func (c *execConn) receive(ctx context.Context, cancel context.CancelFunc) {
	for {
		msg, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			cancel()
			return
		}
		switch {
		case msg.Stdin != nil && msg.Stdin.Close:
			_ = c.input.Close() // never fails, io.PipeWriter says
		case msg.Stdin != nil:
			// A command that does not read its input any more is no reason
			// to stop listening to the client.
			_, _ = c.input.Write(msg.Stdin.Data)
		case msg.TtySize != nil:
			select {
			case c.sizes <- ociruntime.Size{Rows: uint16(msg.TtySize.Height), Columns: uint16(msg.TtySize.Width)}:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (c *execConn) send(msg *drivers.ExecTaskStreamingResponseMsg) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream.Send(msg)
}

// finish says that both outputs are over and how the command ended.
func (c *execConn) finish(code int) error {
	end := &proto.ExecTaskStreamingIOOperation{Close: true}
	return errors.Join(
		c.send(stdoutOf(end)),
		c.send(stderrOf(end)),
		c.send(&drivers.ExecTaskStreamingResponseMsg{Exited: true, Result: &proto.ExitResult{ExitCode: int32(code)}}),
	)
}

// outputOf makes the message that carries a piece of one of the outputs.
type outputOf func(*proto.ExecTaskStreamingIOOperation) *drivers.ExecTaskStreamingResponseMsg

func stdoutOf(op *proto.ExecTaskStreamingIOOperation) *drivers.ExecTaskStreamingResponseMsg {
	return &drivers.ExecTaskStreamingResponseMsg{Stdout: op}
}

func stderrOf(op *proto.ExecTaskStreamingIOOperation) *drivers.ExecTaskStreamingResponseMsg {
	return &drivers.ExecTaskStreamingResponseMsg{Stderr: op}
}

func (c *execConn) writer(of outputOf) io.Writer { return execWriter{c, of} }

type execWriter struct {
	conn *execConn
	of   outputOf
}

// Write sends p as one message. io.Copy's pieces are far below gRPC's limit
// of 4 MiB.
func (w execWriter) Write(p []byte) (int, error) {
	if err := w.conn.send(w.of(&proto.ExecTaskStreamingIOOperation{Data: p})); err != nil {
		return 0, err
	}
	return len(p), nil
}
