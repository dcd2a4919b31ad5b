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
	eventBegin      = "begin" // about to be registered
	eventRegistered = "registered"
	eventHealthy    = "healthy"
	eventFailed     = "failed"
	eventRefused    = "refused" // not registered; cancels the last begin
	eventReverted   = "reverted"
)

// event is a line of a journal.
type event struct {
	Event      string `json:"event"`
	Namespace  string `json:"namespace"`
	Job        string `json:"job"`
	From       uint64 `json:"from"`                 // version before
	To         uint64 `json:"to"`                   // version after
	Evaluation string `json:"evaluation,omitempty"` // to wait for
	Made       string `json:"made,omitempty"`       // content of the registered job
}

// entry is the state of a job in a journal: the version before the first event, the last
// event, and the one before it.
type entry struct {
	Ref
	from         uint64
	last, before event
}

// Journal records an upgrade or ejection. Each action is recorded before and after, so
// that another run can continue or revert it.
type Journal struct {
	entries []*entry // in the order of their first registration
	to      io.Writer
}

// Verbs that write journals. A journal can only be continued by the same verb.
const (
	VerbUpgrade = "upgrade"
	VerbEject   = "eject"
)

// journalHead returns the first line of the journals of a verb.
func journalHead(verb string) []byte {
	return fmt.Appendf(nil, "{\"journal\":\"nomad-sidecar %s\",\"version\":1}\n", verb)
}

// OpenJournal reads an existing journal and appends new events. It ignores a truncated
// last line, left by a kill.
func OpenJournal(verb string, from io.Reader, to io.Writer) (*Journal, error) {
	j := &Journal{to: to}
	all, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	if len(all) == 0 {
		return j, j.append(journalHead(verb))
	}
	rest, ours := bytes.CutPrefix(all, journalHead(verb))
	if !ours {
		return nil, fmt.Errorf("read the state file: it was not written by %s", verb)
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
		return fmt.Errorf("write the state file: %w", err)
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
	switch {
	case e.Event == eventReverted || e.Event == eventRefused && have != nil && have.before.Event == "":
		j.entries = slices.DeleteFunc(j.entries, func(o *entry) bool { return o == have })
		return
	case e.Event == eventRefused:
		if have != nil {
			have.last = have.before
		}
		return
	case have == nil:
		have = &entry{Ref: of, from: e.From}
		j.entries = append(j.entries, have)
	}
	if e.Event == eventBegin {
		have.before = have.last
	}
	have.last = e
}

// write appends an event. The writer must sync it to disk before it returns.
func (j *Journal) write(e event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	if err := j.append(append(raw, '\n')); err != nil {
		return err
	}
	j.note(e)
	return nil
}
