package driver

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// execConn is a connection of "nomad alloc exec". It splits incoming messages into
// input and terminal sizes, and merges the outputs into one stream.
type execConn struct {
	stream drivers.ExecTaskStream
	stdin  *io.PipeReader
	input  *io.PipeWriter
	sizes  chan ociruntime.Size

	heard  chan struct{} // has a value after a message was received
	ended  chan struct{} // is closed when receive returns
	closed atomic.Bool   // the client has ended the input

	mu sync.Mutex // a stream permits one Send at a time
}

func newExecConn(stream drivers.ExecTaskStream) *execConn {
	r, w := io.Pipe()
	return &execConn{
		stream: stream, stdin: r, input: w, sizes: make(chan ociruntime.Size),
		heard: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// receive reads messages until the stream ends. A broken stream, because the client
// disconnected, cancels the command; a closed one does not.
func (c *execConn) receive(ctx context.Context, cancel context.CancelFunc) {
	defer close(c.ended)
	for {
		msg, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			cancel()
			return
		}
		select {
		case c.heard <- struct{}{}:
		default:
		}
		switch {
		case msg.Stdin != nil && msg.Stdin.Close:
			c.closed.Store(true)
			_ = c.input.Close() // io.PipeWriter.Close never fails
		case msg.Stdin != nil:
			// Keep receiving even if the command no longer reads its input.
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

// finish sends the end of both outputs and the exit code.
func (c *execConn) finish(code int) error {
	end := &proto.ExecTaskStreamingIOOperation{Close: true}
	return errors.Join(
		c.send(stdoutOf(end)),
		c.send(stderrOf(end)),
		c.send(&drivers.ExecTaskStreamingResponseMsg{Exited: true, Result: &proto.ExitResult{ExitCode: int32(code)}}),
	)
}

// How long a connection stays open for a client that sends input to a command that has ended.
const (
	quietInput  = time.Second
	lingerLimit = 10 * time.Second
)

// linger discards input until the client has sent none for a while. If the stream ended while the
// client sends, Nomad would report the failed send instead of the command's exit code.
func (c *execConn) linger(quiet, limit time.Duration) {
	_ = c.stdin.Close() // discards the input; it never fails
	end := time.After(limit)
	for !c.closed.Load() {
		select {
		case <-c.heard:
		case <-time.After(quiet):
			return
		case <-c.ended:
			return
		case <-end:
			return
		}
	}
}

// outputOf builds the message for a piece of one output.
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

// Write sends p as one message. io.Copy's buffers are far below gRPC's limit of
// 4 MiB.
func (w execWriter) Write(p []byte) (int, error) {
	if err := w.conn.send(w.of(&proto.ExecTaskStreamingIOOperation{Data: p})); err != nil {
		return 0, err
	}
	return len(p), nil
}
