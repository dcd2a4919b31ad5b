package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// ErrNotPulled is wrapped by errors about images that could not be pulled in advance.
var ErrNotPulled = errors.New("images were not pulled in advance")

// purgeTimeout bounds the removal of the job that pulls images.
const purgeTimeout = 30 * time.Second

// Prefetch pulls the images of a job that is about to be registered on the nodes where it runs now,
// by a sysbatch job that it purges at the end, also if ctx ends. It reports each step as a line of
// text. Nodes that are down or not eligible get no allocation and are not waited for. Images that
// the job already runs are skipped. It returns the modify index of the job before, 0 if there was none,
// which the registration can check for. The error wraps ErrNotPulled if an image could not be pulled or
// the timeout has passed, and ErrConflict if the index is not the one to check for, unless that is nil.
func (c *Cluster) Prefetch(ctx context.Context, next *Job, check *uint64, timeout time.Duration, report func(string)) (index uint64, err error) {
	now, err := c.ReadBack(ctx, next)
	gone := errors.Is(err, ErrNoJob)
	if err != nil && !gone {
		return 0, err
	}
	if !gone {
		if index, err = indexOf(now); err != nil {
			return 0, fmt.Errorf("read job %q: %w", next.ID, err)
		}
	}
	if check != nil && *check != index {
		return index, fmt.Errorf("%w: the modify index of job %q is %d, not %d", ErrConflict, next.ID, index, *check)
	}
	if gone {
		report("no images are pulled in advance: the job does not run yet")
		return 0, nil
	}
	return index, c.pullNew(ctx, next, now, timeout, report)
}

func indexOf(job []byte) (uint64, error) {
	var stored struct{ JobModifyIndex uint64 }
	err := json.Unmarshal(job, &stored)
	return stored.JobModifyIndex, err
}

// pullNew pulls the images that a job has more than it has now.
func (c *Cluster) pullNew(ctx context.Context, next *Job, now []byte, timeout time.Duration, report func(string)) error {
	nodes, err := c.nodesOf(ctx, next, now)
	if err != nil {
		return err
	}
	if !nodes.current {
		now = []byte("{}") // nodes with an earlier version may lack its images
	}
	images, left, err := newImages(now, next.JSON)
	if err != nil {
		return err
	}
	for _, line := range left {
		report(line)
	}
	if len(images) == 0 {
		report("no images are pulled in advance: the job has no new ones")
		return nil
	}
	if len(nodes.ids) == 0 {
		report("no images are pulled in advance: the job has no allocation that should run")
		return nil
	}
	job, err := nodes.job(next, images)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w within %s", ErrNotPulled, timeout))
	defer cancel()
	err = c.runPulls(ctx, job, len(nodes.ids), len(images), report)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// runningNodes are the nodes with allocations of a job that should run.
type runningNodes struct {
	ids     []string
	pool    string
	current bool // all allocations are of the job's current version, and run
}

func (c *Cluster) nodesOf(ctx context.Context, job *Job, now []byte) (*runningNodes, error) {
	var stored struct {
		NodePool string
		Version  uint64
	}
	if err := json.Unmarshal(now, &stored); err != nil {
		return nil, fmt.Errorf("read job %q: %w", job.ID, err)
	}
	allocs, _, err := c.client.Jobs().Allocations(job.ID, false, job.query(ctx, 0))
	if err != nil {
		return nil, fmt.Errorf("list the allocations of job %q: %w", job.ID, err)
	}
	ids := map[string]bool{}
	out := &runningNodes{pool: stored.NodePool, current: true}
	for _, a := range allocs {
		runs := a.ClientStatus == api.AllocClientStatusRunning
		if a.DesiredStatus != api.AllocDesiredStatusRun || (!runs && a.ClientStatus != api.AllocClientStatusPending) {
			continue
		}
		ids[a.NodeID] = true
		out.current = out.current && runs && a.JobVersion == stored.Version // one that waits may lack the image
	}
	out.ids = slices.Sorted(maps.Keys(ids))
	return out, nil
}

// job returns a job with one task for each image, on these nodes.
func (n *runningNodes) job(next *Job, images []pulledImage) (*Job, error) {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	id := next.ID + "-prefetch-" + hex.EncodeToString(suffix)
	group := api.NewTaskGroup("prefetch", 1)
	group.EphemeralDisk = &api.EphemeralDisk{SizeMB: new(10)}
	group.RestartPolicy = &api.RestartPolicy{Attempts: new(2), Delay: new(5 * time.Second), Mode: new("fail")}
	for i, img := range images {
		config := maps.Clone(img.config)
		config["pull_only"] = true
		group.AddTask(&api.Task{
			Name: fmt.Sprintf("image-%d", i), Driver: podDriver, Config: config,
			Resources: &api.Resources{CPU: new(1), MemoryMB: new(10)},
			LogConfig: &api.LogConfig{MaxFiles: new(1), MaxFileSizeMB: new(1)},
		})
	}
	job := api.NewSysbatchJob(id, id, "", 50)
	job.Region, job.Datacenters, job.Namespace = nil, []string{"*"}, nil
	if next.Namespace != "" {
		job.Namespace = &next.Namespace
	}
	if next.Region != "" {
		job.Region = &next.Region
	}
	if n.pool != "" {
		job.NodePool = &n.pool
	}
	job.Constraints = []*api.Constraint{{LTarget: "${node.unique.id}", Operand: api.ConstraintSetContainsAny, RTarget: strings.Join(n.ids, ",")}}
	job.AddTaskGroup(group)
	raw, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("write job %q: %w", id, err)
	}
	return &Job{JSON: raw, ID: id, Region: next.Region, Namespace: next.Namespace}, nil
}

// runPulls registers the job, waits for its allocations and purges it.
func (c *Cluster) runPulls(ctx context.Context, job *Job, nodes, images int, report func(string)) (err error) {
	done, err := c.Register(ctx, job, Options{})
	if refused(err) {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeTimeout)
		defer cancel()
		_, _, perr := c.client.Jobs().Deregister(job.ID, true, job.write(ctx))
		if perr != nil && !hasStatus(perr, 404) {
			err = errors.Join(err, fmt.Errorf("purge job %q, which pulls images; purge it with \"nomad job stop -purge\": %w", job.ID, perr))
		}
	}()
	if err != nil {
		return err
	}
	report(fmt.Sprintf("job %q pulls %s on %s", job.ID, count(images, "image"), count(nodes, "node")))
	if err := c.unchanged(ctx, job, images); err != nil {
		return err
	}
	eval, err := c.followEvaluation(ctx, job, done.Evaluation, func(string) {})
	if err != nil {
		return err
	}
	for _, line := range Failures(eval.FailedTGAllocs) {
		report(line)
	}
	return c.followPulls(ctx, job, nodes, report)
}

// unchanged checks that a proxy in front of Nomad has not added tasks, which might never end.
func (c *Cluster) unchanged(ctx context.Context, job *Job, tasks int) error {
	raw, err := c.ReadBack(ctx, job)
	if err != nil {
		return err
	}
	var now struct{ TaskGroups []struct{ Tasks []struct{} } }
	if err := json.Unmarshal(raw, &now); err != nil {
		return fmt.Errorf("read job %q: %w", job.ID, err)
	}
	if len(now.TaskGroups) != 1 || len(now.TaskGroups[0].Tasks) != tasks {
		return fmt.Errorf("%w: the proxy in front of Nomad changed the tasks of job %q; exclude jobs of type sysbatch from its policy", ErrNotPulled, job.ID)
	}
	return nil
}

// followPulls waits until no allocation of the job runs, and reports how many are done.
func (c *Cluster) followPulls(ctx context.Context, job *Job, nodes int, report func(string)) error {
	said, index := "", uint64(0)
	for {
		allocs, meta, err := c.client.Jobs().Allocations(job.ID, true, job.query(ctx, index))
		if err != nil {
			return fmt.Errorf("follow job %q: %w", job.ID, err)
		}
		index = max(1, meta.LastIndex)
		done, open := 0, 0
		for _, a := range allocs {
			switch a.ClientStatus {
			case api.AllocClientStatusComplete:
				if a.DesiredStatus == api.AllocDesiredStatusRun { // otherwise it was stopped
					done++
				}
			case api.AllocClientStatusFailed:
				if err := c.stillThere(ctx, job); err != nil {
					return err
				}
				return fmt.Errorf("%w on node %s: %s", ErrNotPulled, a.NodeName, whyFailed(a))
			case api.AllocClientStatusPending, api.AllocClientStatusRunning:
				open++
			}
		}
		if line := fmt.Sprintf("images pulled on %d of %d nodes%s", done, nodes, latest(allocs)); line != said {
			said = line
			report(line)
		}
		if open == 0 {
			return c.missed(ctx, job, done, nodes, report)
		}
	}
}

// missed reports the nodes that have not pulled. It returns an error if no node has.
func (c *Cluster) missed(ctx context.Context, job *Job, done, nodes int, report func(string)) error {
	if done >= nodes {
		return nil
	}
	if err := c.stillThere(ctx, job); err != nil {
		return err
	}
	const why = "down, not eligible or without room"
	if done == 0 {
		return fmt.Errorf("%w on any of %s: each is %s", ErrNotPulled, count(nodes, "node"), why)
	}
	report(count(nodes-done, "node") + " " + why + ": not waited for")
	return nil
}

// stillThere returns an error if the job that pulls images was purged or stopped.
func (c *Cluster) stillThere(ctx context.Context, job *Job) error {
	raw, err := c.ReadBack(ctx, job)
	if errors.Is(err, ErrNoJob) {
		return fmt.Errorf("%w: job %q was purged during the pull", ErrNotPulled, job.ID)
	}
	if err != nil {
		return err
	}
	var now struct{ Stop bool }
	if err := json.Unmarshal(raw, &now); err != nil {
		return fmt.Errorf("read job %q: %w", job.ID, err)
	}
	if now.Stop {
		return fmt.Errorf("%w: job %q was stopped during the pull", ErrNotPulled, job.ID)
	}
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// whyFailed returns the last message about a task that failed.
func whyFailed(a *api.AllocationListStub) string {
	for _, name := range slices.Sorted(maps.Keys(a.TaskStates)) {
		state := a.TaskStates[name]
		for i := len(state.Events) - 1; state.Failed && i >= 0; i-- {
			if e := state.Events[i]; e.Type == api.TaskTerminated || e.Type == api.TaskDriverFailure || e.Type == api.TaskFailedValidation {
				return e.DisplayMessage
			}
		}
	}
	return "see nomad alloc status " + Short(a.ID)
}

// latest returns the progress of a pull on a single node.
func latest(allocs []*api.AllocationListStub) string {
	if len(allocs) != 1 {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(allocs[0].TaskStates)) {
		state := allocs[0].TaskStates[name]
		if n := len(state.Events); n > 0 && state.FinishedAt.IsZero() && state.Events[n-1].Type == "Driver" {
			return ": " + state.Events[n-1].DisplayMessage
		}
	}
	return ""
}
