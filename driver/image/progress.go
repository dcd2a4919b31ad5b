package image

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
)

// Progress is the progress of a pull. Layers already in the store count as done. The totals are
// set from the first report on.
type Progress struct {
	LayersDone, LayersTotal int
	BytesDone, BytesTotal   int64 // compressed, as in the source
}

// listeners reports the progress of one pull to all its callers.
type listeners struct {
	mu    sync.Mutex
	next  int
	calls map[int]func(Progress)
}

// join adds call, which may be nil; call is never called after leave.
func (a *listeners) join(call func(Progress)) (leave func()) {
	if call == nil {
		return func() {}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == nil {
		a.calls = make(map[int]func(Progress))
	}
	id := a.next
	a.next++
	a.calls[id] = call
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, id)
	}
}

func (a *listeners) tell(p Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, call := range a.calls {
		call(p)
	}
}

// meter sums up the events of copy.Image for each blob.
type meter struct {
	total  Progress
	layers map[digest.Digest]*blobProgress
}

type blobProgress struct {
	times int // an image may have the same layer twice; it is fetched once
	size  int64
	bytes int64
	done  bool
}

func newMeter(layers []types.BlobInfo) *meter {
	m := &meter{layers: make(map[digest.Digest]*blobProgress, len(layers))}
	for _, layer := range layers {
		if layer.Digest == "" {
			continue
		}
		blob := m.layers[layer.Digest]
		if blob == nil {
			blob = &blobProgress{size: max(layer.Size, 0)}
			m.layers[layer.Digest] = blob
		}
		blob.times++
		m.total.LayersTotal++
		m.total.BytesTotal += blob.size
	}
	return m
}

// errTooMuch reports that a source sent more bytes for a layer than the manifest states. The
// digest check would fail only at the end, which may never come.
var errTooMuch = errors.New("more data arrived than the manifest states")

// follow calls tell for every event until the channel is closed, and cancels the copy if a layer
// is larger than it should be.
func (m *meter) follow(events <-chan types.ProgressProperties, tell func(Progress), giveUp context.CancelCauseFunc) {
	tell(m.total)
	for event := range events {
		blob := m.layers[event.Artifact.Digest]
		if blob == nil {
			continue // the config blob
		}
		switch event.Event {
		case types.ProgressEventRead:
			blob.bytes = min(int64(event.Offset), blob.size)
			if size := event.Artifact.Size; size >= 0 && event.Offset > uint64(size) {
				giveUp(fmt.Errorf("%w: layer %s has %d bytes", errTooMuch, event.Artifact.Digest, size))
			}
		case types.ProgressEventDone, types.ProgressEventSkipped:
			blob.bytes, blob.done = blob.size, true
		default:
			continue
		}
		tell(m.sum())
	}
}

func (m *meter) sum() Progress {
	p := m.total
	for _, blob := range m.layers {
		p.BytesDone += blob.bytes * int64(blob.times)
		if blob.done {
			p.LayersDone += blob.times
		}
	}
	return p
}
