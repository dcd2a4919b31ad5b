package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// Follow waits for the evaluation and its deployment to end and reports each step as a
// line of text. It returns ErrNotHealthy if the deployment failed, or if tasks could
// not be placed and no blocked evaluation will retry. A deployment of a version before
// version is ignored: Nomad's evaluations of a system job keep naming the last deployment,
// also one that was cancelled because the job was stopped.
func (c *Cluster) Follow(ctx context.Context, job *Job, evalID string, version uint64, report func(string)) error {
	eval, err := c.followEvaluation(ctx, job, evalID, report)
	if err != nil {
		return err
	}
	unplaced := Failures(eval.FailedTGAllocs)
	for _, line := range unplaced {
		report(line)
	}
	if eval.DeploymentID != "" {
		followed, err := c.followDeployment(ctx, job, eval.DeploymentID, version, report)
		if followed {
			return err
		}
	}
	if eval.Status != "complete" {
		return fmt.Errorf("evaluation %s is %s: %s: %w", Short(evalID), eval.Status, eval.StatusDescription, ErrNotHealthy)
	}
	if len(unplaced) > 0 {
		return fmt.Errorf("not all tasks could be placed; evaluation %s is blocked until there is capacity: %w", Short(eval.BlockedEval), ErrNotHealthy)
	}
	return nil
}

func (c *Cluster) followEvaluation(ctx context.Context, job *Job, id string, report func(string)) (*api.Evaluation, error) {
	status, index := "", uint64(0)
	for {
		eval, meta, err := c.client.Evaluations().Info(id, job.query(ctx, index))
		if err != nil {
			return nil, fmt.Errorf("follow evaluation %s: %w", Short(id), err)
		}
		index = max(1, meta.LastIndex)
		if eval.Status != status {
			status = eval.Status
			report(fmt.Sprintf("evaluation %s: %s", Short(id), status))
		}
		if status != "pending" && status != "blocked" {
			return eval, nil
		}
	}
}

// followDeployment reports false if the deployment is of an earlier version.
func (c *Cluster) followDeployment(ctx context.Context, job *Job, id string, version uint64, report func(string)) (followed bool, err error) {
	said, index := "", uint64(0)
	for {
		d, meta, err := c.client.Deployments().Info(id, job.query(ctx, index))
		if err != nil {
			return true, fmt.Errorf("follow deployment %s: %w", Short(id), err)
		}
		if d.JobVersion < version {
			report(fmt.Sprintf("deployment %s: of version %d, ignored", Short(id), d.JobVersion))
			return false, nil
		}
		index = max(1, meta.LastIndex)
		for _, line := range progress(d) {
			if !strings.Contains(said, line+"\n") {
				said += line + "\n"
				report(line)
			}
		}
		switch {
		case d.Status != "paused" && IsActive(d):
			continue
		case d.Status == "successful":
			report(fmt.Sprintf("deployment %s: %s", Short(id), d.StatusDescription))
			return true, nil
		}
		return true, ended(id, d)
	}
}

// ended returns the error for a deployment that was not successful. Nomad announces a revert
// only in its description (structs.DeploymentStatusDescriptionRollback).
func ended(id string, d *api.Deployment) error {
	err := fmt.Errorf("deployment %s is %s: %s: %w", Short(id), d.Status, d.StatusDescription, ErrNotHealthy)
	if strings.Contains(d.StatusDescription, "rolling back to job version") {
		err = fmt.Errorf("%w, and %w", err, ErrReverted)
	}
	return err
}

// IsActive reports whether a deployment has not ended; a nil deployment has.
func IsActive(d *api.Deployment) bool {
	if d == nil {
		return false
	}
	switch d.Status {
	case "running", "paused", "pending", "initializing", "blocked", "unblocking":
		return true
	}
	return false
}

// HasCanaries reports whether a deployment has canaries that are not promoted.
func HasCanaries(d *api.Deployment) bool {
	for _, g := range d.TaskGroups {
		if g.DesiredCanaries > 0 && !g.Promoted {
			return true
		}
	}
	return false
}

// progress returns a line for each group of a deployment, and one that asks for
// promotion once the canaries are healthy.
func progress(d *api.Deployment) []string {
	var out []string
	waiting := false
	for _, name := range slices.Sorted(maps.Keys(d.TaskGroups)) {
		g := d.TaskGroups[name]
		out = append(out, fmt.Sprintf("group %q: %d of %d placed, %d healthy, %d unhealthy", name, g.PlacedAllocs, g.DesiredTotal, g.HealthyAllocs, g.UnhealthyAllocs))
		waiting = waiting || (!g.Promoted && g.DesiredCanaries > 0 && g.HealthyAllocs >= g.DesiredCanaries)
	}
	// The API has no other sign that a deployment needs manual promotion.
	if waiting && strings.Contains(d.StatusDescription, "manual promotion") {
		out = append(out, fmt.Sprintf(`deployment %[1]s: its canaries are healthy, and it requires promotion: "nomad deployment promote %[1]s", or "nomad deployment fail %[1]s" to revert`, Short(d.ID)))
	}
	return out
}

// Failures returns lines about groups that could not be placed.
func Failures(groups map[string]*api.AllocationMetric) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		m := groups[name]
		var why []string
		if m.NodesEvaluated == 0 {
			why = append(why, "no client was eligible")
		}
		for _, reasons := range []map[string]int{m.ConstraintFiltered, m.ClassFiltered, m.DimensionExhausted} {
			for _, reason := range slices.Sorted(maps.Keys(reasons)) {
				why = append(why, fmt.Sprintf("%s (%d clients)", reason, reasons[reason]))
			}
		}
		out = append(out, fmt.Sprintf("group %q: %d allocations could not be placed: %s", name, m.CoalescedFailures+1, strings.Join(why, ", ")))
	}
	return out
}

// Short abbreviates an ID.
func Short(id string) string { return id[:min(8, len(id))] }
