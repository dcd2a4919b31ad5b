package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// RunJob registers a job in HCL, waits until it has an allocation, and returns the allocation.
func (a *Agent) RunJob(ctx context.Context, hcl string) (*api.Allocation, error) {
	job, err := a.api.Jobs().ParseHCL(hcl, true)
	if err != nil {
		return nil, fmt.Errorf("parse job: %w", err)
	}
	return a.Register(ctx, job)
}

// Register is RunJob for a parsed job.
func (a *Agent) Register(ctx context.Context, job *api.Job) (*api.Allocation, error) {
	registered, _, err := a.api.Jobs().Register(job, nil)
	if err != nil {
		return nil, fmt.Errorf("register job %s: %w", *job.ID, err)
	}
	var alloc *api.Allocation
	id := registered.EvalID
	err = a.until(ctx, "job "+*job.ID+" has an allocation", func() error {
		eval, _, err := a.api.Evaluations().Info(id, nil)
		if err != nil {
			return err
		}
		allocs, _, err := a.api.Evaluations().Allocations(id, nil)
		if err != nil {
			return err
		}
		if len(allocs) == 0 && eval.BlockedEval != "" {
			id = eval.BlockedEval // too early, for example because the client is starting
		}
		if len(allocs) == 0 {
			return fmt.Errorf("evaluation is %s %s%s", eval.Status, eval.StatusDescription, unplaced(eval))
		}
		alloc, err = a.Alloc(allocs[0].ID)
		return err
	})
	return alloc, err
}

func unplaced(eval *api.Evaluation) string {
	var reasons strings.Builder
	for group, m := range eval.FailedTGAllocs {
		fmt.Fprintf(&reasons, "; group %s: filtered by %v, exhausted %v", group, m.ConstraintFiltered, m.DimensionExhausted)
	}
	return reasons.String()
}

// Alloc returns the current state of an allocation on the servers.
func (a *Agent) Alloc(id string) (*api.Allocation, error) {
	alloc, _, err := a.api.Allocations().Info(id, nil)
	if err != nil {
		return nil, fmt.Errorf("read allocation %s: %w", id, err)
	}
	return alloc, nil
}

// WaitAlloc waits until an allocation has one of the client statuses. If that has become
// impossible, it returns an error with the tasks' events.
func (a *Agent) WaitAlloc(ctx context.Context, id string, statuses ...string) (*api.Allocation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var alloc *api.Allocation
	err := a.until(ctx, fmt.Sprintf("allocation %.8s is %s", id, strings.Join(statuses, " or ")), func() error {
		var err error
		if alloc, err = a.Alloc(id); err != nil || slices.Contains(statuses, alloc.ClientStatus) {
			return err
		}
		if alloc.ClientTerminalStatus() {
			cancel()
		}
		return fmt.Errorf("status is %s: %s%s", alloc.ClientStatus, alloc.ClientDescription, Events(alloc))
	})
	return alloc, err
}

// WaitRunning waits until all tasks of an allocation run.
func (a *Agent) WaitRunning(ctx context.Context, id string) (*api.Allocation, error) {
	alloc, err := a.WaitAlloc(ctx, id, api.AllocClientStatusRunning)
	if err != nil {
		return alloc, err
	}
	for task := range alloc.TaskStates {
		err := a.WaitTask(ctx, id, task, func(state *api.TaskState) error {
			if state.State != "running" {
				return fmt.Errorf("state is %s", state.State)
			}
			return nil
		})
		if err != nil {
			return alloc, err
		}
	}
	return a.Alloc(id)
}

// Events formats the events of the tasks of an allocation, one per line.
func Events(alloc *api.Allocation) string {
	var lines strings.Builder
	for name, state := range alloc.TaskStates {
		for _, event := range state.Events {
			fmt.Fprintf(&lines, "\n  %s: %s: %s", name, event.Type, event.DisplayMessage)
		}
	}
	return lines.String()
}

// WaitTask waits until condition returns nil for the state of a task.
func (a *Agent) WaitTask(ctx context.Context, id, task string, condition func(*api.TaskState) error) error {
	return a.until(ctx, "task "+task+" is as expected", func() error {
		alloc, err := a.Alloc(id)
		if err != nil {
			return err
		}
		state := alloc.TaskStates[task]
		if state == nil {
			return errors.New("task has no state yet")
		}
		if err := condition(state); err != nil {
			return fmt.Errorf("%w%s", err, Events(alloc))
		}
		return nil
	})
}

// Logs returns all of a task's "stdout" or "stderr", as served by Nomad.
func (a *Agent) Logs(ctx context.Context, alloc *api.Allocation, task, stream string) (string, error) {
	cancel := make(chan struct{})
	defer close(cancel)
	frames, errs := a.api.AllocFS().Logs(alloc, false, task, stream, api.OriginStart, 0, cancel, nil)
	var text strings.Builder
	for {
		select {
		case frame, more := <-frames:
			if !more {
				return text.String(), nil
			}
			text.Write(frame.Data)
		case err := <-errs:
			if errors.Is(err, io.EOF) {
				return text.String(), nil
			}
			return text.String(), fmt.Errorf("logs of %s: %w", task, err)
		case <-ctx.Done():
			return text.String(), fmt.Errorf("logs of %s: %w", task, ctx.Err())
		}
	}
}

// Result is the result of a command in a task.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Exec runs a command in a task, without a terminal.
func (a *Agent) Exec(ctx context.Context, alloc *api.Allocation, task string, command ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	code, err := a.api.Allocations().Exec(ctx, alloc, task, false, command,
		bytes.NewReader(nil), &stdout, &stderr, nil, nil)
	if err != nil {
		return Result{}, fmt.Errorf("run %q in %s: %w", command, task, err)
	}
	return Result{stdout.String(), stderr.String(), code}, nil
}

// RequireNewStats requires statistics of running allocations that are newer than since, which shows
// that the client has its driver and the driver its tasks.
func (a *Agent) RequireNewStats(ctx context.Context, allocs []*api.AllocationListStub, since time.Time) error {
	direct, err := api.NewClient(&api.Config{Address: a.url(a.config.Network.Ports.ClientHTTP), SecretID: a.token})
	if err != nil {
		return err
	}
	defer direct.Close()
	for _, alloc := range allocs {
		if alloc.ClientStatus != api.AllocClientStatusRunning {
			continue
		}
		var use api.AllocResourceUsage
		if _, err := direct.Raw().Query("/v1/client/allocation/"+alloc.ID+"/stats", &use, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
			return fmt.Errorf("statistics of allocation %s: %w", alloc.ID, err)
		}
		for name := range alloc.TaskStates {
			if task := use.Tasks[name]; task == nil || task.Timestamp < since.UnixNano() {
				return fmt.Errorf("task %s of allocation %s has no new statistics", name, alloc.ID)
			}
		}
	}
	return nil
}

// stopJobs deregisters every job, waits for its allocations to end, and makes the client remove
// them.
func (a *Agent) stopJobs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, testtimeout.Scale(time.Minute))
	defer cancel()
	everywhere := &api.QueryOptions{Namespace: api.AllNamespacesNamespace}
	jobs, _, err := a.api.Jobs().List(everywhere)
	if err != nil {
		return fmt.Errorf("list jobs: %w", err)
	}
	for _, job := range jobs {
		if _, _, err := a.api.Jobs().Deregister(job.ID, false, &api.WriteOptions{Namespace: job.Namespace}); err != nil {
			return fmt.Errorf("stop job %s: %w", job.ID, err)
		}
	}
	err = a.until(ctx, "every allocation has ended", func() error {
		allocs, _, err := a.api.Allocations().List(everywhere)
		if err != nil {
			return err
		}
		for _, alloc := range allocs {
			if !ended(alloc.ClientStatus) {
				return fmt.Errorf("allocation %.8s of job %s is %s", alloc.ID, alloc.JobID, alloc.ClientStatus)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.Forget(ctx)
}

// Forget makes the client remove ended allocations, and waits until their files and pods are
// gone.
func (a *Agent) Forget(ctx context.Context) error {
	return errors.Join(a.collect(ctx), a.waitPods(ctx))
}

func ended(clientStatus string) bool {
	return slices.Contains([]string{
		api.AllocClientStatusComplete, api.AllocClientStatusFailed, api.AllocClientStatusLost,
	}, clientStatus)
}

// collect makes the client remove the directories of ended allocations and the mounts in them,
// and waits until they are gone. The servers would collect only old ones.
func (a *Agent) collect(ctx context.Context) error {
	nodes, _, err := a.api.Nodes().List(nil)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	return a.until(ctx, "the client has removed all allocations", func() error {
		for _, node := range nodes {
			// Nodes().GC expects an answer, but the agent sends an empty one.
			if _, err := a.api.Raw().Write("/v1/client/gc?node_id="+node.ID, nil, nil, nil); err != nil {
				return fmt.Errorf("collect allocations: %w", err)
			}
		}
		left, err := filepath.Glob(filepath.Join(a.config.AllocDir(), "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still has %v", left)
		}
		return err
	})
}

// waitPods waits until the driver has removed its pods, which happens shortly after their tasks
// end.
func (a *Agent) waitPods(ctx context.Context) error {
	return a.until(ctx, "the driver has removed all pods", func() error {
		left, err := filepath.Glob(filepath.Join(a.config.RunDir(), "pods", "*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("still has %v", left)
		}
		return err
	})
}

// removeDir removes the agent's directory, unless something is still mounted below it: the removal
// could then delete files of the machine.
func (a *Agent) removeDir() error {
	mounts, err := mountsBelow(a.config.Dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("keep %s: still mounted there: %s", a.config.Dir, strings.Join(mounts, ", "))
	}
	return os.RemoveAll(a.config.Dir)
}
