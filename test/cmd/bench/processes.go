package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/procfs"
)

// workload is the program that tasks run.
const workload = "sleep"

func processIDs() ([]int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	var pids []int
	for _, p := range all {
		pids = append(pids, p.PID)
	}
	return pids, nil
}

// helpers returns the processes of a contestant besides the workload: those started for the job and
// those that always run.
func helpers(c *contestant, before []int) ([]procfs.Proc, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	standing, err := c.standing()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p procfs.Proc) bool {
		comm, err := p.Comm()
		return err != nil || comm == workload || slices.Contains(before, p.PID) && !slices.Contains(standing, p.PID)
	}), nil
}

// use measures the resources used while the tasks run.
func (r *result) use(ctx context.Context, h jobRun, before []int) error {
	beside, err := helpers(h.contestant, before)
	if err != nil {
		return err
	}
	var bytes uint64
	for _, p := range beside {
		// skip a process that has just ended
		if m, err := p.ProcSMapsRollup(); err == nil {
			bytes += m.Pss
		}
	}
	r.memory = float64(bytes) / float64(r.tasks)
	if h.idle == 0 {
		return nil
	}
	client, err := procfs.NewProc(h.agent.ClientPID())
	if err != nil {
		return err
	}
	beside = append(beside, client) // drivers that are part of Nomad run in its process
	from, began := cpuSeconds(beside), time.Now()
	select {
	case <-time.After(h.idle): // length of the measurement
	case <-ctx.Done():
		return ctx.Err()
	}
	r.cpu = (cpuSeconds(beside) - from) / time.Since(began).Seconds()
	return nil
}

func cpuSeconds(processes []procfs.Proc) float64 {
	var sum float64
	for _, p := range processes {
		if stat, err := p.Stat(); err == nil {
			sum += stat.CPUTime()
		}
	}
	return sum
}
