// Package sink delivers batches of lines to an HTTP receiver, a syslog server or a
// file.
//
// A sink makes one attempt at a time and reports whether the batch has arrived.
// It neither encodes nor stores batches; the caller retries with the same batch.
package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Batch is a unit of delivery. Batches with the same ID are identical.
type Batch struct {
	ID   string
	Body []byte
}

// Sink delivers batches one after the other.
type Sink interface {
	// Send returns nil if the batch has arrived, as far as the sink can
	// verify. After an error the batch may still have arrived, wholly or in part.
	Send(ctx context.Context, b Batch) error
	Close() error
}

// Keeper is a Sink that can discard data after a position. The caller stores the
// position when it commits a batch and passes the last one when it opens the
// sink again.
type Keeper interface {
	Sink
	// Position returns the position after the last batch.
	Position() json.RawMessage
	// Tidy does maintenance between two batches and reports whether the position
	// has changed.
	Tidy() (changed bool, err error)
}

// LaterError means that the receiver asked to retry after some time.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return fmt.Sprintf("%v, try again after %s", e.Err, e.After) }
func (e *LaterError) Unwrap() error { return e.Err }
