package ociruntime

import (
	"context"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// output reads the output of a command and its children from a pipe. Children that outlive the
// command may hold the pipe open. Closing its read end would kill them with SIGPIPE, so the pipe is
// drained until the last of them ends, at the latest with the task.
type output struct {
	write *os.File // the command's end
	done  chan struct{}

	to    io.Writer
	given chan struct{} // holds a value while to is written to
	over  atomic.Bool   // the rest is discarded
}

// newOutput starts to copy to w, which may be nil. The caller closes write after the start.
func newOutput(w io.Writer) (*output, error) {
	r, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{write: pw, to: w, done: make(chan struct{}), given: make(chan struct{}, 1)}
	o.over.Store(w == nil)
	go func() { // ends with the last process that has the pipe
		defer close(o.done)
		defer r.Close()
		_, _ = io.Copy(o, r)
	}()
	return o, nil
}

// Write forwards data until finish gives up or the receiver fails.
func (o *output) Write(p []byte) (int, error) {
	o.given <- struct{}{}
	defer func() { <-o.given }()
	if !o.over.Load() {
		if _, err := o.to.Write(p); err != nil {
			o.over.Store(true)
		}
	}
	return len(p), nil
}

// finish waits for the end of the output. When ctx is done it discards the rest and returns, even
// if the receiver still blocks.
func (o *output) finish(ctx context.Context) {
	select {
	case <-o.done:
		return
	case <-ctx.Done():
	}
	o.over.Store(true)
	select {
	case o.given <- struct{}{}: // nothing more is written to the receiver
		<-o.given
	case <-o.done:
	case <-time.After(receiverDelay):
	}
}

// receiverDelay is how long a receiver may take for its last piece of output.
const receiverDelay = 500 * time.Millisecond
