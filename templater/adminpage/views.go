package adminpage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

const (
	pollMillis      = 2000
	refreshSeconds  = 10 // for browsers without scripts
	maxJobDecisions = 20 // number of decisions on the page of a job
)

// view is the data of the templates.
type view struct {
	Name, Title    string
	State          string // changes with every update
	Poll           int    // milliseconds
	RefreshSeconds int
	Nav            []navView
	Fleet          *fleetView // nil if it is disabled
	Table          any        // of shown[T]
	Filter         string     // placeholder of the filter
	Job            *jobView
	Since          time.Time // start of the buffer of decisions
	Seen           uint64
	Kept           int
}

type navView struct {
	Name, Title, URL string
	Count            int // -1 for none
	Here             bool
}

// fleetView summarizes all jobs.
type fleetView struct {
	At      time.Time // zero if they were never read
	Age     string
	Took    string
	Err     string
	Jobs    int
	Differ  int
	Idle    int
	Pending int
}

func (p *Page) look() *Reading {
	if p.Fleet == nil {
		return nil
	}
	return p.Fleet.Look()
}

// view returns the data common to all pages.
func (p *Page) view(name string, r *Reading) *view {
	denials := p.Decisions.Denials()
	v := &view{
		Name: name, State: p.state(r), Poll: pollMillis, RefreshSeconds: refreshSeconds,
		Since: p.begun, Seen: p.Decisions.Seen(), Kept: len(p.Decisions.All()),
	}
	v.Nav = []navView{
		{"fleet", "Fleet", "/", -1, false}, {"upgrades", "Upgrades", "/upgrades", -1, false},
		{"admissions", "Admissions", "/admissions", v.Kept, false}, {"denials", "Denials", "/denials", len(denials), false},
	}
	if r != nil {
		v.Fleet = p.fleetView(r)
		if !r.At.IsZero() {
			v.Nav[0].Count, v.Nav[1].Count = v.Fleet.Jobs, v.Fleet.Pending
		}
	}
	for i := range v.Nav {
		if v.Nav[i].Here = v.Nav[i].Name == name; v.Nav[i].Here {
			v.Title = v.Nav[i].Title
		}
	}
	return v
}

func (p *Page) fleetView(r *Reading) *fleetView {
	v := &fleetView{At: r.At, Jobs: len(r.Jobs), Took: max(r.Took, time.Millisecond).Round(time.Millisecond).String()}
	if r.Err != nil {
		v.Err = r.Err.Error()
	}
	if !r.At.IsZero() {
		v.Age = ago(p.now().Sub(r.At))
	}
	for _, j := range r.Jobs {
		if j.Differs() {
			v.Differ++
		}
		if !j.Active() {
			v.Idle++
		}
	}
	v.Pending = len(p.pending(r.Jobs))
	return v
}

// state returns a text that changes with every update.
func (p *Page) state(r *Reading) string {
	number := uint64(0)
	if r != nil {
		number = r.Number
	}
	return fmt.Sprintf("%d.%d.%d", p.begun.UnixMilli(), number, p.Decisions.Seen())
}

func (p *Page) pending(jobs []*fleet.Job) []*pending {
	out := []*pending{}
	for _, j := range jobs {
		if one := pendingOf(p.UpgradeFlags, j); one != nil {
			out = append(out, one)
		}
	}
	return out
}

func (p *Page) fleetPage(w http.ResponseWriter, r *http.Request) {
	reading := p.look()
	v := p.view("fleet", reading)
	v.Filter = "Filter by job, sidecar or state"
	var jobs []*fleet.Job
	if reading != nil {
		jobs = reading.Jobs
	}
	tabled(p, w, r, v, fleetTable(), fleetRows(jobs))
}

func (p *Page) upgradesPage(w http.ResponseWriter, r *http.Request) {
	reading := p.look()
	v := p.view("upgrades", reading)
	v.Filter = "Filter by job or sidecar"
	var jobs []*fleet.Job
	if reading != nil {
		jobs = reading.Jobs
	}
	tabled(p, w, r, v, upgradeTable(), p.pending(jobs))
}

func (p *Page) decisionsPage(name, path string, rows func() []Decided) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := p.view(name, p.look())
		v.Filter = "Filter by job, rule or client"
		tabled(p, w, r, v, decisionTable(path), rows())
	}
}

func tabled[T any](p *Page, w http.ResponseWriter, r *http.Request, v *view, t *table[T], rows []T) {
	q, err := t.parse(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v.Table = t.show(rows, q)
	p.render(w, http.StatusOK, v)
}

// jobView is the data of one job's page.
type jobView struct {
	fleet.Ref
	*fleet.Job   // nil if the fleet has no such job
	Rows         []fleetRow
	Command, Why string // of an upgrade
	Explanation  *explanation.Job
	Unexplained  string // why there is no explanation
	Decisions    []Decided
}

// job returns the data of a job and the status code of the response.
func (p *Page) job(ctx context.Context, query url.Values, r *Reading) (*jobView, int) {
	v := &jobView{Ref: fleet.Ref{Namespace: query.Get("namespace"), ID: query.Get("id")}, Decisions: []Decided{}}
	for _, d := range p.Decisions.All() {
		if d.Job == admission.Shorten(v.ID(), maxTextBytes) && d.Namespace == admission.Shorten(v.Ref.Namespace, maxTextBytes) && len(v.Decisions) < maxJobDecisions {
			v.Decisions = append(v.Decisions, d)
		}
	}
	if r == nil {
		return v, http.StatusOK
	}
	if v.Job = r.Job(v.Ref); v.Job == nil {
		return v, http.StatusNotFound
	}
	v.Rows = fleetRows([]*fleet.Job{v.Job})
	if v.Differs() {
		v.Command, v.Why = commandFor(p.UpgradeFlags, v.Job)
	}
	var err error
	if v.Explanation, err = p.Fleet.Explain(ctx, v.Ref); err != nil && !errors.Is(err, errUnknown) {
		v.Unexplained = err.Error()
	}
	return v, http.StatusOK
}

// ID returns the requested job's ID, whether or not the job exists.
func (v *jobView) ID() string { return v.Ref.ID }

func (p *Page) jobPage(w http.ResponseWriter, r *http.Request) {
	reading := p.look()
	v := p.view("job", reading)
	var status int
	v.Job, status = p.job(r.Context(), r.URL.Query(), reading)
	v.Title = v.Job.Ref.String()
	p.render(w, status, v)
}

func (p *Page) render(w http.ResponseWriter, status int, v *view) {
	var body bytes.Buffer // so that a failing template does not send a partial page
	if err := p.template.ExecuteTemplate(&body, "page.html", v); err != nil {
		p.Log.Error("the page cannot be shown", "error", err.Error())
		http.Error(w, "nomad-sidecar: the page cannot be shown; see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the client disconnected
}
