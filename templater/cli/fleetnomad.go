package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// pageSize is the number of jobs per list request. Nomad returns about a kilobyte per job.
const pageSize = 200

// fleetNomad connects package fleet to a cluster.
type fleetNomad struct {
	*cluster.Cluster
	paused map[[2]string]bool // jobs, by namespace and ID

	prefetch prefetchOptions
	report   func(fleet.Ref, string) // of pulls
}

func (n *fleetNomad) Jobs(ctx context.Context, ask fleet.Ask, token string) ([]fleet.Listed, string, error) {
	if token == "" {
		var err error
		if n.paused, err = n.Paused(ctx, ask.Namespace); err != nil {
			return nil, "", err
		}
	}
	page, next, err := n.Page(ctx, ask.Namespace, ask.Prefix, token, pageSize)
	if err != nil {
		return nil, "", err
	}
	out := make([]fleet.Listed, 0, len(page))
	for _, j := range page {
		out = append(out, fleet.Listed{
			Ref: fleet.Ref{Namespace: j.Namespace, ID: j.ID}, Parent: j.ParentID, Paused: n.paused[[2]string{j.Namespace, j.ID}],
		})
	}
	return out, next, nil
}

func (n *fleetNomad) Job(ctx context.Context, of fleet.Ref) ([]byte, error) {
	raw, err := n.Stored(ctx, of.Namespace, of.ID)
	return raw, classed(err)
}

func (n *fleetNomad) Versions(ctx context.Context, of fleet.Ref) ([]json.RawMessage, error) {
	raws, err := n.Cluster.Versions(ctx, of.Namespace, of.ID)
	return raws, classed(err)
}

func (n *fleetNomad) Deployment(ctx context.Context, of fleet.Ref) (*fleet.Deployment, error) {
	d, err := n.Cluster.Deployment(ctx, of.Namespace, of.ID)
	if err != nil || !cluster.IsActive(d) {
		return nil, classed(err)
	}
	return &fleet.Deployment{ID: cluster.Short(d.ID), Version: d.JobVersion, Paused: d.Status == "paused", Canaries: cluster.HasCanaries(d)}, nil
}

func (n *fleetNomad) Plan(ctx context.Context, of fleet.Ref, raw []byte) (*fleet.Preview, error) {
	job, err := stored(of, raw)
	if err != nil {
		return nil, err
	}
	plan, err := n.Cluster.Plan(ctx, job, false)
	if err != nil {
		return nil, classed(err)
	}
	out := &fleet.Preview{Differs: plan.Diff != nil && plan.Diff.Type != "None", ModifyIndex: plan.JobModifyIndex}
	out.Tasks = taskChanges(plan)
	if job.Parent { // it has no allocations, although Nomad plans some
		return out, nil
	}
	out.Unplaced = cluster.Failures(plan.FailedTGAllocs)
	for _, g := range cluster.Effects(plan, nil) {
		switch g.Effect {
		case cluster.Destructive:
			out.Restarts = append(out.Restarts, g.Group)
		case cluster.InPlace:
			out.InPlace = append(out.InPlace, g.Group)
		}
	}
	return out, nil
}

func taskChanges(plan *api.JobPlanResponse) (out []fleet.TaskChange) {
	for _, t := range cluster.TaskChanges(plan) {
		out = append(out, fleet.TaskChange(t))
	}
	return out
}

func (n *fleetNomad) Apply(ctx context.Context, c fleet.Change) (string, error) {
	if c.Job == nil {
		done, err := n.Revert(ctx, c.Namespace, c.ID, c.To, c.From)
		if err != nil {
			return "", classed(err)
		}
		return done.Evaluation, nil
	}
	job, err := stored(c.Ref, c.Job)
	if err != nil {
		return "", err
	}
	// Without a submission, Nomad would show the first version's submission.
	job.Submission, err = n.Submission(ctx, c.Namespace, c.ID, c.From)
	if err != nil {
		return "", classed(err)
	}
	if n.prefetch.on {
		_, err := n.Prefetch(ctx, job, &c.ModifyIndex, n.prefetch.timeout, func(line string) { n.report(c.Ref, line) })
		switch {
		case errors.Is(err, cluster.ErrNotPulled):
			return "", &classedError{err, fleet.ErrRefused}
		case err != nil:
			return "", classed(err)
		}
	}
	done, err := n.Register(ctx, job, cluster.Options{CheckIndex: &c.ModifyIndex, PreserveCounts: c.KeepCounts})
	if err != nil {
		return "", classed(err)
	}
	return done.Evaluation, nil
}

func (n *fleetNomad) Wait(ctx context.Context, of fleet.Ref, evaluation string, version uint64, report func(string)) error {
	return n.Follow(ctx, &cluster.Job{ID: of.ID, Namespace: of.Namespace}, evaluation, version, report)
}

func (n *fleetNomad) Proxy() string { return n.Header(admission.CatalogHeader) }

// classedError is an error that also wraps a class of package fleet.
type classedError struct {
	error
	class error
}

func (e *classedError) Unwrap() []error { return []error{e.error, e.class} }

func classed(err error) error {
	switch {
	case errors.Is(err, cluster.ErrNoJob):
		return &classedError{err, fleet.ErrGone}
	case errors.Is(err, cluster.ErrConflict):
		return &classedError{err, fleet.ErrChanged}
	case cluster.IsAnswer(err), errors.Is(err, cluster.ErrNotAddressable):
		return &classedError{err, fleet.ErrRefused}
	}
	return err
}

// stored prepares a job read from Nomad to be registered again: a tag belongs to one version
// only.
func stored(of fleet.Ref, raw []byte) (*cluster.Job, error) {
	job, err := cluster.ReadJob(raw)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(job.JSON, &fields); err != nil {
		return nil, fmt.Errorf("read job %q: %w", of.ID, err)
	}
	if _, tagged := fields["VersionTag"]; tagged {
		delete(fields, "VersionTag")
		if job.JSON, err = json.Marshal(fields); err != nil {
			return nil, fmt.Errorf("write job %q: %w", of.ID, err)
		}
	}
	job.Namespace = of.Namespace
	return job, nil
}
