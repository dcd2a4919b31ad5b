package driver

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"github.com/shoenig/test/must"
	"google.golang.org/protobuf/encoding/protowire"
	gproto "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// wire is a client that sends encoded messages, each preceded by its length.
type wire struct{ rest []byte }

func (w *wire) Send(*drivers.ExecTaskStreamingResponseMsg) error { return nil }

func (w *wire) Recv() (*drivers.ExecTaskStreamingRequestMsg, error) {
	text, n := protowire.ConsumeBytes(w.rest)
	if n < 0 {
		return nil, io.EOF
	}
	w.rest = w.rest[n:]
	var msg proto.ExecTaskStreamingRequest
	return &msg, gproto.Unmarshal(text, protoadapt.MessageV2Of(&msg))
}

// FuzzExecConn checks that any sequence of messages ends the connection, and that the program reads
// only bytes that the client has sent.
func FuzzExecConn(f *testing.F) {
	for _, msgs := range [][]*proto.ExecTaskStreamingRequest{
		{{Stdin: &proto.ExecTaskStreamingIOOperation{Data: []byte("ls\n")}}, {Stdin: &proto.ExecTaskStreamingIOOperation{Close: true}}},
		{{TtySize: &proto.ExecTaskStreamingRequest_TerminalSize{Height: -1, Width: 1 << 30}}, {}},
		{{Stdin: &proto.ExecTaskStreamingIOOperation{Close: true}}, {Stdin: &proto.ExecTaskStreamingIOOperation{Data: []byte("late")}}},
	} {
		var seed []byte
		for _, m := range msgs {
			text, err := gproto.Marshal(protoadapt.MessageV2Of(m))
			must.NoError(f, err)
			seed = protowire.AppendBytes(seed, text)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		conn := newExecConn(&wire{sent})
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn.receive(ctx, cancel)
			_ = conn.input.Close()
		}()
		go func() { // ends with the test
			for {
				select {
				case <-conn.sizes:
				case <-done:
					return
				}
			}
		}()
		input, err := io.ReadAll(conn.stdin)
		must.NoError(t, err)
		<-done
		must.True(t, len(input) <= len(sent) && (len(input) == 0 || bytes.Contains(sent, input[:1])))
	})
}

// eager is a client that sends input until it has received and processed the exit code.
type eager struct {
	exited chan struct{}
	late   int
}

func (e *eager) Send(m *drivers.ExecTaskStreamingResponseMsg) error {
	if m.Exited {
		close(e.exited)
	}
	return nil
}

func (e *eager) Recv() (*drivers.ExecTaskStreamingRequestMsg, error) {
	select {
	case <-e.exited:
		e.late--
	default:
	}
	if e.late < 0 {
		return nil, io.EOF
	}
	return &drivers.ExecTaskStreamingRequestMsg{Stdin: &proto.ExecTaskStreamingIOOperation{Data: []byte("x")}}, nil
}

// Input that a command leaves must not end the stream before the client has read the exit code.
func TestExecConn_Linger(t *testing.T) {
	client := &eager{exited: make(chan struct{}), late: 10_000}
	conn := newExecConn(client)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go conn.receive(ctx, cancel)
	_, err := conn.stdin.Read(make([]byte, 1)) // the command reads one byte
	must.NoError(t, err)
	must.NoError(t, conn.finish(0))
	conn.linger(time.Hour, time.Hour)
	must.Eq(t, -1, client.late, must.Sprint("returned before the client was done"))
}

// A client that sends nothing, or has ended the input, does not delay the end.
func TestExecConn_LingerEnds(t *testing.T) {
	conn := newExecConn(&wire{})
	conn.linger(time.Nanosecond, time.Hour)
	conn.linger(time.Hour, time.Nanosecond)
	conn.closed.Store(true)
	conn.linger(time.Hour, time.Hour)
}
