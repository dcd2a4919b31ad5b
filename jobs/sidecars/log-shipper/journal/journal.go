// Package journal stores the state that a shipper needs to continue after a crash:
// how far each stream was delivered, and the batch that may have been
// sent without a response.
//
// A batch is staged before it is sent and committed when it has arrived. A batch
// that was staged and not committed is returned unchanged, with the same number, so
// that a receiver can recognise it. The journal does not send and supports one
// process at a time.
package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/atomicfile"
	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/tail"
)

const (
	stateFile   = "state.json"
	pendingFile = "pending"
	version     = 1

	// own is the mode of both files, since lines may contain secrets.
	own = 0o600
)

// Batch is a unit of delivery.
type Batch struct {
	Number    uint64 // of the batch; the first is 1
	FirstLine uint64 // number of its first line in the series; the first is 1
	Lines     uint64
	Places    map[tail.Stream]tail.Place // ends of the streams' data in Body
	Body      []byte                     // the bytes to send
}

// state is the content of stateFile.
type state struct {
	Version  int             `json:"version"`
	AllocID  string          `json:"alloc_id"`
	Series   string          `json:"series"`
	Batches  uint64          `json:"batches"` // committed
	Lines    uint64          `json:"lines"`   // committed
	Places   []place         `json:"places"`
	Position json.RawMessage `json:"position,omitempty"`
}

// place is a map entry, since JSON keys cannot be structs.
type place struct {
	Task   string `json:"task"`
	Stream string `json:"stream"`
	tail.Place
}

// header is the first line of pendingFile; the body follows.
type header struct {
	Series    string  `json:"series"`
	Number    uint64  `json:"number"`
	FirstLine uint64  `json:"first_line"`
	Lines     uint64  `json:"lines"`
	Places    []place `json:"places"`
}

// Journal is an open journal. It is not safe for concurrent use.
type Journal struct {
	root    *os.Root
	state   state
	places  map[tail.Stream]tail.Place
	pending *Batch
}

// Open opens or creates the journal in a directory. It resets the journal of another
// allocation, which a sticky disk may bring along, since its places refer to other
// files.
func Open(dir, allocID string) (*Journal, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{root: root, places: map[tail.Stream]tail.Place{}}
	if err := j.load(allocID); err != nil {
		return nil, errors.Join(fmt.Errorf("open the journal: %w", err), root.Close())
	}
	return j, nil
}

func (j *Journal) load(allocID string) error {
	data, err := j.root.ReadFile(stateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(data, &j.state); err != nil {
			return fmt.Errorf("%s/%s is broken: %w: remove it to send everything again", j.root.Name(), stateFile, err)
		}
		if j.state.Version != version {
			return fmt.Errorf("%s/%s has version %d, which this program does not know: use the program that wrote it, or remove the file to send everything again",
				j.root.Name(), stateFile, j.state.Version)
		}
	}
	if j.state.Series == "" || j.state.AllocID != allocID {
		j.state = state{Version: version, AllocID: allocID, Series: rand.Text()}
		// Save now, so that batches of an earlier series can be recognised.
		return j.save()
	}
	j.places = toMap(j.state.Places)
	return j.loadPending()
}

func (j *Journal) loadPending() error {
	data, err := j.root.ReadFile(pendingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, body, _ := bytes.Cut(data, []byte("\n"))
	var h header
	if err := json.Unmarshal(first, &h); err != nil {
		return fmt.Errorf("%s/%s is broken: %w: remove it to have its lines read again", j.root.Name(), pendingFile, err)
	}
	if h.Series == j.state.Series && h.Number == j.state.Batches+1 { // otherwise it is committed
		j.pending = &Batch{h.Number, h.FirstLine, h.Lines, toMap(h.Places), body}
	}
	return nil
}

// Close closes the journal.
func (j *Journal) Close() error { return j.root.Close() }

// Places returns where to resume: after the committed and pending batches. The
// caller owns the map.
func (j *Journal) Places() map[tail.Stream]tail.Place {
	places := maps.Clone(j.places)
	if j.pending != nil {
		maps.Copy(places, j.pending.Places)
	}
	return places
}

// Lines returns the number of committed lines.
func (j *Journal) Lines() uint64 { return j.state.Lines }

// Position returns the position of the last commit, nil for none.
func (j *Journal) Position() json.RawMessage { return j.state.Position }

// Series identifies this journal, so that its batches differ from batches of a journal
// that was lost and recreated.
func (j *Journal) Series() string { return j.state.Series }

// Pending returns the batch that was staged and not committed, nil for none.
func (j *Journal) Pending() *Batch { return j.pending }

// Next returns an empty batch with the next numbers.
func (j *Journal) Next() *Batch {
	return &Batch{Number: j.state.Batches + 1, FirstLine: j.state.Lines + 1, Places: map[tail.Stream]tail.Place{}}
}

// Stage stores a batch until it is committed.
func (j *Journal) Stage(b *Batch) error {
	data, err := json.Marshal(header{j.state.Series, b.Number, b.FirstLine, b.Lines, toList(b.Places)})
	if err != nil {
		return fmt.Errorf("stage a batch: %w", err)
	}
	data = append(append(data, '\n'), b.Body...)
	if err := atomicfile.Write(j.root, pendingFile, data, own); err != nil {
		return fmt.Errorf("stage a batch: %w", err)
	}
	return nil
}

// Commit records that a batch has arrived. A non-nil position is stored for the
// sink.
func (j *Journal) Commit(b *Batch, position json.RawMessage) error {
	maps.Copy(j.places, b.Places)
	j.state.Batches, j.state.Lines = b.Number, b.FirstLine+b.Lines-1
	j.state.Places, j.state.Position = toList(j.places), position
	j.pending = nil
	if err := j.save(); err != nil {
		return fmt.Errorf("commit a batch: %w", err)
	}
	return nil
}

// Note stores only the position.
func (j *Journal) Note(position json.RawMessage) error {
	j.state.Position = position
	return j.save()
}

func (j *Journal) save() error {
	data, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	return atomicfile.Write(j.root, stateFile, append(data, '\n'), own)
}

func toMap(list []place) map[tail.Stream]tail.Place {
	m := make(map[tail.Stream]tail.Place, len(list))
	for _, p := range list {
		m[tail.Stream{Task: p.Task, Name: p.Stream}] = p.Place
	}
	return m
}

func toList(m map[tail.Stream]tail.Place) []place {
	list := make([]place, 0, len(m))
	for s, p := range m {
		list = append(list, place{s.Task, s.Name, p})
	}
	return list
}
