package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// States of a sidecar in a group of a job.
const (
	StateOK = "ok"
	// StateOutdated has a newer version that its choice allows.
	StateOutdated = "outdated"
	// StateChanged has another definition under the same version.
	StateChanged = "changed"
	// StateAhead is newer than what the catalog has or the choice allows.
	StateAhead = "ahead"
	// StateEdited is not what definition, meta and policy make of it.
	StateEdited = "edited"
	// StateDoubtful has marks that cannot be true.
	StateDoubtful = "doubtful"
	// StateMissing should be there and is not, StateUnwanted the other way round.
	StateMissing  = "missing"
	StateUnwanted = "unwanted"
)

// States are all of them.
func States() []string {
	return []string{StateOK, StateOutdated, StateChanged, StateAhead, StateEdited, StateDoubtful, StateMissing, StateUnwanted}
}

// What a sidecar's parameters can only be learnt from, where not from the job itself.
const (
	NeedsSource = "source" // the job file, or the flags it was injected with
	NeedsPolicy = "policy"
)

// Activities of a job.
const (
	Running   = "running"
	Pending   = "pending"
	Dead      = "dead"        // it has ended by itself, or failed
	Stopped   = "stopped"     // somebody stopped it
	Paused    = "paused"      // its deployment is, by somebody
	ScaledOff = "scaled to 0" // no group has a count above 0
)

// Job is what there is to say about a job of the cluster. The form of status -json.
type Job struct {
	Namespace   string `json:"namespace"`
	ID          string `json:"id"`
	Type        string `json:"type"`
	Activity    string `json:"activity"`
	Version     uint64 `json:"version"`
	ModifyIndex uint64 `json:"modify_index"`
	// Owner is what else registers the job, as far as it says so in its meta.
	Owner string `json:"owner,omitempty"`
	// Problems are what keeps the job from being as catalog and policy want it.
	Problems []string `json:"problems,omitempty"`
	// Unreadable says that Nomad did not give the job; Problems tell why.
	Unreadable bool     `json:"unreadable,omitempty"`
	Groups     []*Group `json:"groups"`
}

// Group is a task group.
type Group struct {
	Name     string     `json:"name"`
	Sidecars []*Sidecar `json:"sidecars"`
}

// Sidecar is one in a group, or one that should be there.
type Sidecar struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Version is what runs; "" if missing.
	Version string `json:"version,omitempty"`
	// Newest is the newest version of the catalog that the choice allows; "" for none.
	Newest string `json:"newest,omitempty"`
	// Origin is what chose it: policy, meta, block or flag.
	Origin string `json:"origin,omitempty"`
	// Edited says that it is not what its definition makes of it, besides its state.
	Edited bool   `json:"edited,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Needs is what else an upgrade would have to know.
	Needs string `json:"needs,omitempty"`
}

// Finding is a text: what there is to say beside the state; "" for nothing.
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

// Ref names the job.
func (j *Job) Ref() Ref { return Ref{Namespace: j.Namespace, ID: j.ID} }

// Active says whether the job has allocations, or should have, so that it matters what
// it holds. Of those that are dead a service should.
func (j *Job) Active() bool {
	switch j.Activity {
	case Stopped:
		return false
	case Dead:
		return j.Type == "service" || j.Type == "system"
	}
	return true
}

// Differs says whether something about the job is not as it should be. What does not run
// is not counted: what it holds matters when somebody starts it again.
func (j *Job) Differs() bool {
	if !j.Active() {
		return false
	}
	return len(j.Problems) > 0 || slices.ContainsFunc(j.Sidecars(), func(s *Sidecar) bool { return s.State != StateOK })
}

// Refusal says why an upgrade does not touch the job; "" if it may. Owned says that jobs
// which something else registers are upgraded as well.
func (j *Job) Refusal(owned bool) string {
	switch {
	case !j.Active():
		return "it is " + j.Activity
	case j.Activity == Paused:
		return "somebody paused its deployment"
	case j.Owner != "" && !owned:
		return fmt.Sprintf("%s registers it, and would undo the change: upgrade it there", j.Owner)
	case len(j.Problems) > 0:
		return strings.Join(j.Problems, "; ")
	}
	for _, s := range j.Sidecars() {
		switch {
		case s.State == StateDoubtful:
			return fmt.Sprintf("sidecar %s has doubtful marks: %s", s.Name, s.Reason)
		case s.State == StateAhead && s.Needs == "":
			return fmt.Sprintf("sidecar %s is of version %s, and the newest to choose from is %s", s.Name, s.Version, s.Newest)
		}
	}
	return ""
}

// Sidecars are those of all groups.
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

// Filter says what of the jobs to look at; empty parts ask for nothing.
type Filter struct {
	Sidecars []string // names
	States   []string
}

// Narrow leaves out of a job what was not asked for, and says whether the job is of
// interest then. One that could not be read always is.
func (f Filter) Narrow(j *Job) bool {
	if len(f.Sidecars) == 0 && len(f.States) == 0 {
		return true
	}
	for _, g := range j.Groups {
		g.Sidecars = slices.DeleteFunc(g.Sidecars, func(s *Sidecar) bool { return !f.wants(s) })
	}
	j.Groups = slices.DeleteFunc(j.Groups, func(g *Group) bool { return len(g.Sidecars) == 0 })
	return len(j.Groups) > 0 || j.Unreadable
}

func (f Filter) wants(s *Sidecar) bool {
	named := len(f.Sidecars) == 0 || slices.Contains(f.Sidecars, s.Name)
	return named && (len(f.States) == 0 || slices.Contains(f.States, s.State) || (s.Edited && slices.Contains(f.States, StateEdited)))
}
