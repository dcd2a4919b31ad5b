package adminpage

import (
	"sync"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
)

// Clients control the texts of a decision, so each is bounded.
const (
	maxTextBytes = 256
	maxItems     = 32
)

// Decisions keeps the last decisions about requests with a job. Denials have a buffer
// of their own, so that other requests do not displace them.
type Decisions struct {
	mu       sync.Mutex
	seen     uint64
	admitted ring
	denied   ring
}

// Decided is a decision with its sequence number, from 1.
type Decided struct {
	Number uint64 `json:"number"`
	admission.Decision
}

// ring is a ring buffer; once it is full, next is the oldest entry.
type ring struct {
	entries []Decided
	next    int
	most    int
}

func (r *ring) add(d Decided) {
	if len(r.entries) < r.most {
		r.entries = append(r.entries, d)
		return
	}
	r.entries[r.next] = d
	r.next = (r.next + 1) % r.most
}

// newest returns the entry that i newer ones follow.
func (r *ring) newest(i int) Decided {
	return r.entries[(r.next-1-i+2*len(r.entries))%len(r.entries)]
}

// NewDecisions returns a buffer for most denials and as many other decisions, at least
// one of each.
func NewDecisions(most int) *Decisions {
	most = max(1, most)
	return &Decisions{admitted: ring{most: most}, denied: ring{most: most}}
}

// Add adds a decision and shortens long texts in it.
func (d *Decisions) Add(decision admission.Decision) {
	decision = decision.Shortened(maxTextBytes, maxItems)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen++
	into := &d.admitted
	if decision.Denied() {
		into = &d.denied
	}
	into.add(Decided{d.seen, decision})
}

// Seen returns the total number of decisions.
func (d *Decisions) Seen() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// Denials returns the buffered denials, newest first.
func (d *Decisions) Denials() []Decided {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Decided, 0, len(d.denied.entries))
	for i := range d.denied.entries {
		out = append(out, d.denied.newest(i))
	}
	return out
}

// All returns all buffered decisions, newest first.
func (d *Decisions) All() []Decided {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, b := &d.admitted, &d.denied
	out := make([]Decided, 0, len(a.entries)+len(b.entries))
	for i, k := 0, 0; i < len(a.entries) || k < len(b.entries); {
		if k == len(b.entries) || (i < len(a.entries) && a.newest(i).Number > b.newest(k).Number) {
			out, i = append(out, a.newest(i)), i+1
		} else {
			out, k = append(out, b.newest(k)), k+1
		}
	}
	return out
}
