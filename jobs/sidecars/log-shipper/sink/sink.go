// Package sink holds where batches of lines go: a receiver of HTTP POSTs, a
// syslog server, a file.
//
// A sink makes one attempt at a time and says whether the batch has arrived.
// It neither encodes nor keeps batches, and leaves it to the caller to try
// again, with the same batch.
package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Batch is what is sent at once. Batches of the same ID are the same.
type Batch struct {
	ID   string
	Body []byte
}

// Sink takes batches, one after the other.
type Sink interface {
	// Send returns nil when the batch has arrived, as far as the sink can
	// tell; otherwise it may have arrived nevertheless, or in part.
	Send(ctx context.Context, b Batch) error
	Close() error
}

// Keeper is a Sink that can take back what it got after a position. The caller
// keeps the position with its own account of the batch, and hands the last one
// over when the sink is opened again.
type Keeper interface {
	Sink
	// Position is where the sink is after the last batch.
	Position() json.RawMessage
	// Tidy does what can be done between two batches, and tells whether the
	// position has changed.
	Tidy() (changed bool, err error)
}

// LaterError says that a receiver wants to be asked again after some time.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return fmt.Sprintf("%v, try again after %s", e.Err, e.After) }
func (e *LaterError) Unwrap() error { return e.Err }
