package cluster

import (
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Effect is the effect of registering a planned job on running tasks.
type Effect string

// Effects, from the strongest to the weakest.
const (
	Destructive Effect = "destructive" // replaced by a new allocation
	Removed     Effect = "removed"
	Created     Effect = "created"
	InPlace     Effect = "in place" // updated without a restart
	None        Effect = "none"
)

// GroupEffect is the effect on the tasks of a group. They share an allocation, so one
// destructive change restarts all of them.
type GroupEffect struct {
	Group  string
	Effect Effect
	Tasks  []TaskEffect
}

// TaskEffect is the effect on one task and the effect of its own change alone.
type TaskEffect struct {
	Task   string
	Effect Effect
	Own    Effect
}

// Effects predicts from the annotations of a plan which tasks restart. Groups are in
// the order of the plan; names maps each group of the job to its tasks.
func Effects(plan *api.JobPlanResponse, names map[string][]string) []GroupEffect {
	var out []GroupEffect
	if plan.Diff == nil {
		return out
	}
	for _, g := range plan.Diff.TaskGroups {
		ge := GroupEffect{Group: g.Name}
		own := map[string]Effect{}
		for _, t := range g.Tasks {
			own[t.Name] = taskEffect(t)
		}
		ge.Effect = groupEffect(plan, g, own)
		listed := map[string]bool{}
		add := func(task string) {
			if listed[task] {
				return
			}
			listed[task] = true
			te := TaskEffect{Task: task, Own: None, Effect: ge.Effect}
			if e, ok := own[task]; ok {
				te.Own = e
			}
			if ge.Effect == Destructive && (te.Own == Created || te.Own == Removed) || ge.Effect == InPlace {
				te.Effect = te.Own
			}
			ge.Tasks = append(ge.Tasks, te)
		}
		for _, task := range names[g.Name] {
			add(task)
		}
		for _, t := range g.Tasks {
			add(t.Name)
		}
		out = append(out, ge)
	}
	return out
}

func taskEffect(t *api.TaskDiff) Effect {
	switch {
	case t.Type == "Added":
		return Created
	case t.Type == "Deleted":
		return Removed
	}
	// The annotations of Nomad's scheduler (scheduler/annotate.go).
	for _, a := range t.Annotations {
		switch {
		case strings.Contains(a, "create/destroy"):
			return Destructive
		case strings.Contains(a, "in-place"):
			return InPlace
		}
	}
	return None
}

// groupEffect uses the scheduler's counts or, if the group has no allocations, the
// changes of its tasks.
func groupEffect(plan *api.JobPlanResponse, g *api.TaskGroupDiff, own map[string]Effect) Effect {
	switch g.Type {
	case "Added":
		return Created
	case "Deleted":
		return Removed
	}
	if plan.Annotations != nil {
		if u := plan.Annotations.DesiredTGUpdates[g.Name]; u != nil {
			switch {
			case u.DestructiveUpdate > 0 || u.Canary > 0:
				return Destructive
			case u.InPlaceUpdate > 0:
				return InPlace
			}
		}
	}
	effect := None
	for _, e := range own {
		switch e {
		case Destructive, Created, Removed:
			return Destructive
		case InPlace:
			effect = InPlace
		}
	}
	return effect
}

// Changes reports whether the plan creates or destroys allocations, which determines
// the exit code of `nomad job plan`.
func Changes(plan *api.JobPlanResponse) bool {
	if plan.Diff == nil || plan.Diff.Type == "None" || plan.Annotations == nil {
		return false
	}
	for _, u := range plan.Annotations.DesiredTGUpdates {
		if u.Stop+u.Place+u.Migrate+u.DestructiveUpdate+u.Canary > 0 {
			return true
		}
	}
	return false
}

// TaskChange is a task that a plan adds, edits or removes.
type TaskChange struct {
	Group, Task string
	Removed     bool
	// Meta holds the new values of the keys of meta that the plan names; "" for removed ones.
	Meta map[string]string
}

// TaskChanges returns the changes of a plan to tasks.
func TaskChanges(plan *api.JobPlanResponse) []TaskChange {
	var out []TaskChange
	if plan.Diff == nil {
		return out
	}
	for _, g := range plan.Diff.TaskGroups {
		for _, t := range g.Tasks {
			change := TaskChange{Group: g.Name, Task: t.Name, Removed: t.Type == "Deleted" || g.Type == "Deleted", Meta: map[string]string{}}
			for _, f := range t.Fields {
				if key, ok := strings.CutPrefix(f.Name, "Meta["); ok {
					change.Meta[strings.TrimSuffix(key, "]")] = f.New
				}
			}
			out = append(out, change)
		}
	}
	return out
}
