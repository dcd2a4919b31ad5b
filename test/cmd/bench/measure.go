package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// result is the cost of one run of a job.
type result struct {
	name        string
	tasks       int
	start, stop time.Duration
	// memory excludes the workload, in bytes per task.
	memory float64
	// cpu is the use of the client and all other processes except the workload while the tasks are
	// idle, as a fraction of one processor; negative if not measured.
	cpu float64
}

func (r result) String() string {
	s := fmt.Sprintf("%-10s %3d tasks: started in %5d ms, stopped in %5d ms, %5.1f MiB a task",
		r.name, r.tasks, r.start.Milliseconds(), r.stop.Milliseconds(), mebibytes(r.memory))
	if r.cpu >= 0 {
		s += fmt.Sprintf(", %4.1f %% of a processor while idle", 100*r.cpu)
	}
	return s
}

func mebibytes(bytes float64) float64 { return bytes / (1 << 20) }

// job returns a job with that many groups, copies of one. Its tasks exit immediately when
// signalled, so that stopping them measures the driver.
func job(id string, c *contestant, groups int) string {
	var tasks strings.Builder
	for i := range tasksPerGroup {
		fmt.Fprintf(&tasks, `
    task "task%d" {
      driver      = %q
      kill_signal = "SIGKILL"
      config {%s
      }
      # Nomad reserves disk for all that they may hold.
      logs {
        max_files     = 1
        max_file_size = 1
      }
      resources {
        cpu    = 10
        memory = 16
      }
    }`, i, c.driver, c.config)
	}
	return fmt.Sprintf(`
job %q {
  group "bench" {
    count = %d
    ephemeral_disk {
      size = 10
    }%s
  }
}`, id, groups, tasks.String())
}

// jobRun is one run of a job by a contestant.
type jobRun struct {
	*contestant
	jobSize
	id   string        // job ID
	idle time.Duration // how long to measure the idle tasks; 0: not at all
}

// run runs the job to its end.
func (h jobRun) run(ctx context.Context) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	before, err := processIDs()
	if err != nil {
		return r, err
	}
	if _, err := h.agent.RunJob(ctx, job(h.id, h.contestant, h.groups)); err != nil {
		return r, err
	}
	allocs, err := h.await(ctx, "running")
	if err != nil {
		return r, err
	}
	r = result{name: h.name, tasks: h.tasks(), start: startTime(allocs), cpu: -1}
	if err := r.use(ctx, h, before); err != nil {
		return r, err
	}
	stopping := time.Now()
	if _, _, err := h.agent.Client().Jobs().Deregister(h.id, false, nil); err != nil {
		return r, fmt.Errorf("stop job: %w", err)
	}
	if allocs, err = h.await(ctx, "dead"); err != nil {
		return r, err
	}
	r.stop = lastEnd(allocs).Sub(stopping)
	return r, h.agent.Forget(ctx)
}

// await waits until every task of the job is in a state. It uses blocking queries, so that polling
// does not affect the measurement.
func (h jobRun) await(ctx context.Context, state string) ([]*api.AllocationListStub, error) {
	query := (&api.QueryOptions{WaitTime: time.Minute}).WithContext(ctx)
	last := "nothing happened yet"
	for ctx.Err() == nil {
		allocs, meta, err := h.agent.Client().Jobs().Allocations(h.id, false, query)
		if err != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		query.WaitIndex = meta.LastIndex
		there := 0
		for _, a := range allocs {
			for _, task := range a.TaskStates {
				last = event(task)
				if task.State == state {
					there++
				}
				if task.Failed {
					return nil, fmt.Errorf("a task failed: %s", last)
				}
			}
		}
		if there == h.tasks() {
			return allocs, nil
		}
	}
	return nil, fmt.Errorf("not all of %d tasks are %s in time; one: %s", h.tasks(), state, last)
}

// event returns the last event of a task.
func event(s *api.TaskState) string {
	if len(s.Events) == 0 {
		return s.State
	}
	last := s.Events[len(s.Events)-1]
	return last.Type + ": " + last.DisplayMessage
}

// startTime returns the time from the first task's setup to the last one's start, from Nomad's task
// events.
func startTime(allocs []*api.AllocationListStub) time.Duration {
	var from, to int64 // nanoseconds
	for _, a := range allocs {
		for _, state := range a.TaskStates {
			for _, e := range state.Events {
				if e.Type == api.TaskSetup && (from == 0 || e.Time < from) {
					from = e.Time
				}
				if e.Type == api.TaskStarted {
					to = max(to, e.Time)
				}
			}
		}
	}
	return time.Duration(to - from)
}

func lastEnd(allocs []*api.AllocationListStub) time.Time {
	var last time.Time
	for _, a := range allocs {
		for _, state := range a.TaskStates {
			if state.FinishedAt.After(last) {
				last = state.FinishedAt
			}
		}
	}
	return last
}
