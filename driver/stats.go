package driver

import (
	"context"
	"time"

	"github.com/hashicorp/nomad/client/lib/cpustats"
	cstructs "github.com/hashicorp/nomad/client/structs"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// TaskStats gives what a task uses, now and at every interval, until ctx or
// the task ends.
func (d *Driver) TaskStats(ctx context.Context, taskID string, interval time.Duration) (<-chan *cstructs.TaskResourceUsage, error) {
	c, err := d.container(taskID)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	compute := d.compute
	d.mu.Unlock()
	ch := make(chan *cstructs.TaskResourceUsage)
	go func() { // ends with the task, the caller or the driver
		defer close(ch)
		d.collect(ctx, c, newUsage(compute), interval, ch)
	}()
	return ch, nil
}

func (d *Driver) collect(ctx context.Context, c *pod.Container, u *usage, interval time.Duration, ch chan<- *cstructs.TaskResourceUsage) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		// Between the end of the processes and that of the task there is
		// nothing to read; the next round ends.
		if s, err := c.Stats(); err == nil {
			select {
			case ch <- u.of(s, time.Now()):
			case <-ctx.Done():
				return
			case <-c.Done():
				return
			case <-d.ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-c.Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// usage turns counters into what Nomad shows, which needs the counters of the
// time before.
type usage struct{ total, user, system *cpustats.Tracker }

func newUsage(c cpustats.Compute) *usage {
	if c.NumCores == 0 {
		c.NumCores = 1 // an agent that did not tell; ticks are 0 then
	}
	return &usage{cpustats.New(c), cpustats.New(c), cpustats.New(c)}
}

func (u *usage) of(s cgroup.Stats, at time.Time) *cstructs.TaskResourceUsage {
	percent := u.total.Percent(float64(s.CPU.TotalNanos))
	return &cstructs.TaskResourceUsage{
		Timestamp: at.UTC().UnixNano(),
		ResourceUsage: &cstructs.ResourceUsage{
			CpuStats: &cstructs.CpuStats{
				SystemMode:       u.system.Percent(float64(s.CPU.SystemNanos)),
				UserMode:         u.user.Percent(float64(s.CPU.UserNanos)),
				Percent:          percent,
				TotalTicks:       u.total.TicksConsumed(percent),
				ThrottledPeriods: s.CPU.ThrottledPeriods,
				ThrottledTime:    s.CPU.ThrottledNanos,
				Measured:         []string{"System Mode", "User Mode", "Percent", "Throttled Periods", "Throttled Time"},
			},
			MemoryStats: &cstructs.MemoryStats{
				RSS: s.Memory.RSS, Cache: s.Memory.Cache, Swap: s.Memory.Swap, MappedFile: s.Memory.MappedFile,
				Usage: s.Memory.Usage, MaxUsage: s.Memory.MaxUsage,
				KernelUsage: s.Memory.Kernel, KernelMaxUsage: s.Memory.MaxKernel,
				Measured: []string{"RSS", "Cache", "Swap", "Mapped File", "Usage", "Max Usage", "Kernel Usage", "Kernel Max Usage"},
			},
		},
	}
}
