package adminpage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// reading is the common head of JSON about jobs.
type reading struct {
	ReadAt     *time.Time `json:"read_at"`     // null before the first reading
	AgeSeconds *float64   `json:"age_seconds"` // null before the first reading
	Error      string     `json:"error,omitempty"`
}

func (p *Page) reading(r *Reading) reading {
	out := reading{}
	if !r.At.IsZero() {
		at, age := r.At.UTC(), p.now().Sub(r.At).Seconds()
		out.ReadAt, out.AgeSeconds = &at, &age
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	return out
}

// fleetJSON serves jobs in the form of status -json: {"read_at", "age_seconds", "jobs"}.
func (p *Page) fleetJSON(w http.ResponseWriter, _ *http.Request) {
	r := p.look()
	if r == nil {
		p.off(w)
		return
	}
	writeJSON(w, http.StatusOK, struct {
		reading
		Jobs []*fleet.Job `json:"jobs"`
	}{p.reading(r), append([]*fleet.Job{}, r.Jobs...)})
}

// upgradesJSON serves {"read_at", "age_seconds", "jobs": [{"namespace", "id", "changes",
// "command", "why"}…]}.
func (p *Page) upgradesJSON(w http.ResponseWriter, _ *http.Request) {
	type one struct {
		Namespace string   `json:"namespace"`
		ID        string   `json:"id"`
		Changes   []string `json:"changes"`
		Command   string   `json:"command,omitempty"`
		Why       string   `json:"why,omitempty"`
	}
	r := p.look()
	if r == nil {
		p.off(w)
		return
	}
	jobs := []one{}
	for _, j := range p.pending(r.Jobs) {
		jobs = append(jobs, one{j.Namespace, j.ID, j.Changes, j.Command, j.Why})
	}
	writeJSON(w, http.StatusOK, struct {
		reading
		Jobs []one `json:"jobs"`
	}{p.reading(r), jobs})
}

// decisionsJSON serves {"seen", "since", "decisions": [Decided…]}, newest first; with
// decision=denied only denials.
func (p *Page) decisionsJSON(w http.ResponseWriter, r *http.Request) {
	var all []Decided
	switch which := r.URL.Query().Get("decision"); which {
	case "":
		all = p.Decisions.All()
	case "denied":
		all = p.Decisions.Denials()
	default:
		failed(w, http.StatusBadRequest, fmt.Sprintf("decision=%q is not a choice: use denied, or leave it out", which))
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Seen      uint64    `json:"seen"` // total number; equals the number of the newest decision
		Since     time.Time `json:"since"`
		Decisions []Decided `json:"decisions"`
	}{p.Decisions.Seen(), p.begun.UTC(), all})
}

// jobJSON serves {"read_at", "age_seconds", "job", "upgrade", "explanation", "decisions"}:
// the job in the form of status -json, the command that upgrades it, the output of
// explain -json, and the last decisions about it.
func (p *Page) jobJSON(w http.ResponseWriter, r *http.Request) {
	now := p.look()
	if now == nil {
		p.off(w)
		return
	}
	v, status := p.job(r.Context(), r.URL.Query(), now)
	if status != http.StatusOK {
		failed(w, status, errUnknown.Error())
		return
	}
	writeJSON(w, http.StatusOK, struct {
		reading
		Job         *fleet.Job       `json:"job"`
		Upgrade     string           `json:"upgrade,omitempty"`
		Explanation *explanation.Job `json:"explanation"` // null if it cannot be read now
		Unexplained string           `json:"unexplained,omitempty"`
		Decisions   []Decided        `json:"decisions"`
	}{p.reading(now), v.Job, v.Command, v.Explanation, v.Unexplained, v.Decisions})
}

// stateJSON serves {"state", "age"}: a text that changes with every update, and the age
// of the jobs for display, "" if there are none.
func (p *Page) stateJSON(w http.ResponseWriter, _ *http.Request) {
	r, age := p.look(), ""
	if r != nil && !r.At.IsZero() {
		age = ago(p.now().Sub(r.At))
	}
	writeJSON(w, http.StatusOK, struct {
		State string `json:"state"`
		Age   string `json:"age"`
	}{p.state(r), age})
}

func (p *Page) off(w http.ResponseWriter) {
	failed(w, http.StatusNotFound, "jobs are not read, since there is no token for it; see -fleet-token of nomad-sidecar serve")
}

func failed(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the client disconnected
}
