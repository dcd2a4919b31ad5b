package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Events of a journal.
const (
	eventBegin      = "begin" // what is next is to be registered
	eventRegistered = "registered"
	eventHealthy    = "healthy"
	eventFailed     = "failed"
	eventReverted   = "reverted"
)

// event is a line of a journal.
type event struct {
	Event      string `json:"event"`
	Namespace  string `json:"namespace"`
	Job        string `json:"job"`
	From       uint64 `json:"from"`                 // the version before
	To         uint64 `json:"to"`                   // and after
	Evaluation string `json:"evaluation,omitempty"` // what to wait for
}

// entry is what a journal says about a job: the version before all of it, and the last
// thing that happened.
type entry struct {
	Ref
	from uint64
	last event
}

// Journal is what an upgrade or an ejection did, written before and after each thing it does, so that
// another run can go on, or back.
type Journal struct {
	entries []*entry // in the order of their first registration
	to      io.Writer
}

// Verbs that write journals. One does not go on with what the other began.
const (
	VerbUpgrade = "upgrade"
	VerbEject   = "eject"
)

// journalHead is the first line of every journal of a verb.
func journalHead(verb string) []byte {
	return fmt.Appendf(nil, "{\"journal\":\"nomad-sidecar %s\",\"version\":1}\n", verb)
}

// OpenJournal reads what there is of a journal, and writes what is new. A line that was
// cut off, as the program was killed, does not count.
func OpenJournal(verb string, from io.Reader, to io.Writer) (*Journal, error) {
	j := &Journal{to: to}
	all, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("read what was done before: %w", err)
	}
	if len(all) == 0 {
		return j, j.append(journalHead(verb))
	}
	rest, ours := bytes.CutPrefix(all, journalHead(verb))
	if !ours {
		return nil, fmt.Errorf("read what was done before: this is no file that %s has written", verb)
	}
	for line := range bytes.Lines(rest) {
		var e event
		if json.Unmarshal(line, &e) == nil && e.Job != "" {
			j.note(e)
		}
	}
	if !bytes.HasSuffix(all, []byte("\n")) {
		return j, j.append([]byte("\n"))
	}
	return j, nil
}

func (j *Journal) append(line []byte) error {
	if _, err := j.to.Write(line); err != nil {
		return fmt.Errorf("note what is done: %w", err)
	}
	return nil
}

func (j *Journal) entry(of Ref) *entry {
	i := slices.IndexFunc(j.entries, func(e *entry) bool { return e.Namespace == of.Namespace && e.ID == of.ID })
	if i < 0 {
		return nil
	}
	return j.entries[i]
}

func (j *Journal) note(e event) {
	of := Ref{Namespace: e.Namespace, ID: e.Job}
	have := j.entry(of)
	if e.Event == eventReverted {
		j.entries = slices.DeleteFunc(j.entries, func(o *entry) bool { return o == have })
		return
	}
	if have == nil {
		have = &entry{Ref: of, from: e.From}
		j.entries = append(j.entries, have)
	}
	have.last = e
}

// write adds an event. It has to be on disk before the next thing happens, which is up
// to the writer.
func (j *Journal) write(e event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("note what is done: %w", err)
	}
	if err := j.append(append(raw, '\n')); err != nil {
		return err
	}
	j.note(e)
	return nil
}
