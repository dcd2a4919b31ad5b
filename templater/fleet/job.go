package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// States of a sidecar in a group of a job.
const (
	StateOK = "ok"
	// StateOutdated means that the choice allows a newer version.
	StateOutdated = "outdated"
	// StateChanged means that the definition changed without a new version.
	StateChanged = "changed"
	// StateAhead means newer than the catalog's or the allowed versions.
	StateAhead = "ahead"
	// StateEdited means that the job differs from the result of definition, meta and policy.
	StateEdited = "edited"
	// StateDoubtful means that marks are inconsistent.
	StateDoubtful = "doubtful"
	// StateMissing is chosen but absent; StateUnwanted is present but not chosen.
	StateMissing  = "missing"
	StateUnwanted = "unwanted"
)

// States returns all states.
func States() []string {
	return []string{StateOK, StateOutdated, StateChanged, StateAhead, StateEdited, StateDoubtful, StateMissing, StateUnwanted}
}

// Sources of a sidecar's parameters other than the job itself.
const (
	NeedsSource = "source" // the job file, or the flags of the injection
	NeedsPolicy = "policy"
)

// Activities of a job.
const (
	Running   = "running"
	Pending   = "pending"
	Dead      = "dead"        // completed or failed
	Stopped   = "stopped"     // stopped by a user
	Paused    = "paused"      // its deployment is paused by a user
	ScaledOff = "scaled to 0" // no group has a count above 0
)

// Job is the result for one job. status -json prints its JSON form.
type Job struct {
	Namespace   string `json:"namespace"`
	ID          string `json:"id"`
	Type        string `json:"type"`
	Activity    string `json:"activity"`
	Version     uint64 `json:"version"`
	ModifyIndex uint64 `json:"modify_index"`
	// Owner is another tool that registers the job according to the job's meta.
	Owner string `json:"owner,omitempty"`
	// Problems are the reasons why the job cannot match catalog and policy.
	Problems []string `json:"problems,omitempty"`
	// Warnings are about deprecated sidecars and parameters, and choices without effect.
	Warnings []string `json:"warnings,omitempty"`
	// Unreadable means that Nomad did not return the job; Problems has the reason.
	Unreadable bool     `json:"unreadable,omitempty"`
	Groups     []*Group `json:"groups"`
}

// Group is a task group.
type Group struct {
	Name     string     `json:"name"`
	Sidecars []*Sidecar `json:"sidecars"`
	// Proxies are the proxies of Consul's service mesh that rules concern.
	Proxies []*Proxy `json:"proxies,omitempty"`
}

// Sidecar is a sidecar of a group, present or missing.
type Sidecar struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Version is the running version; "" if missing.
	Version string `json:"version,omitempty"`
	// Newest is the newest version in the catalog that the choice allows; "" for none.
	Newest string `json:"newest,omitempty"`
	// Origin is the origin of the choice: policy, meta, block or flag.
	Origin string `json:"origin,omitempty"`
	// Output is an output of another sidecar, with another definition now, that it was made with; "" for
	// none.
	Output string `json:"output,omitempty"`
	// Edited means that, besides its state, it differs from its definition.
	Edited bool   `json:"edited,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Needs is further input that an upgrade requires.
	Needs string `json:"needs,omitempty"`
}

// Finding returns remarks besides the state; "" for none.
func (s *Sidecar) Finding() string {
	var parts []string
	if s.Reason != "" {
		parts = append(parts, s.Reason)
	}
	switch s.Needs {
	case NeedsSource:
		parts = append(parts, "an upgrade needs its source")
	case NeedsPolicy:
		parts = append(parts, "an upgrade needs its policy")
	}
	return strings.Join(parts, "; ")
}

// Ref returns the reference of the job.
func (j *Job) Ref() Ref { return Ref{Namespace: j.Namespace, ID: j.ID} }

// Active reports whether the job has, or should have, allocations, so that its content
// matters. A dead service should.
func (j *Job) Active() bool {
	switch j.Activity {
	case Stopped:
		return false
	case Dead:
		return j.Type == "service" || j.Type == "system"
	}
	return true
}

// Differs reports whether an active job is not as it should be. The content of inactive
// jobs matters only when they are started again.
func (j *Job) Differs() bool {
	return j.Active() && j.differs()
}

func (j *Job) differs() bool {
	return len(j.Problems) > 0 || slices.ContainsFunc(j.Sidecars(), func(s *Sidecar) bool { return s.State != StateOK }) ||
		slices.ContainsFunc(j.Proxies(), func(p *Proxy) bool { return p.State != StateOK })
}

// Refusal returns the reason why an upgrade skips the job; "" if there is none. Owned
// includes jobs that another tool registers.
func (j *Job) Refusal(owned bool) string {
	switch {
	case !j.Active():
		return "it is " + j.Activity
	case j.Activity == Paused:
		return "its deployment is paused"
	case j.Owner != "" && !owned:
		return fmt.Sprintf("%s registers it, and undoes the change when it does so again without serve; pass -owned to upgrade it anyway", j.Owner)
	case len(j.Problems) > 0:
		return strings.Join(j.Problems, "; ")
	}
	for _, s := range j.Sidecars() {
		switch {
		case s.State == StateDoubtful:
			return fmt.Sprintf("sidecar %s has doubtful marks: %s", s.Name, s.Reason)
		case s.State == StateAhead && s.Needs == "":
			return fmt.Sprintf("sidecar %s has version %s, and the newest allowed version is %s", s.Name, s.Version, s.Newest)
		}
	}
	return ""
}

// Sidecars returns the sidecars of all groups.
func (j *Job) Sidecars() []*Sidecar {
	var out []*Sidecar
	for _, g := range j.Groups {
		out = append(out, g.Sidecars...)
	}
	return out
}

func (j *Job) group(name string) *Group {
	for _, g := range j.Groups {
		if g.Name == name {
			return g
		}
	}
	g := &Group{Name: name, Sidecars: []*Sidecar{}}
	j.Groups = append(j.Groups, g)
	return g
}

// Filter selects jobs and sidecars; empty fields select all.
type Filter struct {
	Sidecars []string // names
	States   []string
}

// Narrow removes unselected parts of a job and reports whether any remain. Unreadable
// jobs are always selected.
func (f Filter) Narrow(j *Job) bool {
	if len(f.Sidecars) == 0 && len(f.States) == 0 {
		return true
	}
	for _, g := range j.Groups {
		g.Sidecars = slices.DeleteFunc(g.Sidecars, func(s *Sidecar) bool { return !f.wants(s) })
		g.Proxies = slices.DeleteFunc(g.Proxies, func(p *Proxy) bool { return !f.wants(p.Row()) })
	}
	j.Groups = slices.DeleteFunc(j.Groups, func(g *Group) bool { return len(g.Sidecars)+len(g.Proxies) == 0 })
	return len(j.Groups) > 0 || j.Unreadable
}

func (f Filter) wants(s *Sidecar) bool {
	named := len(f.Sidecars) == 0 || slices.Contains(f.Sidecars, s.Name)
	return named && (len(f.States) == 0 || slices.Contains(f.States, s.State) || (s.Edited && slices.Contains(f.States, StateEdited)))
}
