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
// the task ends. A task at rest, which uses what it did, is looked at ever more
// rarely, but every five seconds, or as rarely as was asked: more would cost the
// node as much as what is news.
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
	meter := c.Meter()
	defer meter.Close()
	beat := newBeat(interval, d.began, time.Now())
	next := time.NewTimer(beat.after(time.Now()))
	defer next.Stop()
	rest := newRest(interval)
	for {
		// Between the end of the processes and that of the task there is
		// nothing to read; the next round ends.
		var use *cstructs.TaskResourceUsage
		var tell chan<- *cstructs.TaskResourceUsage // nil: there is nothing to tell
		var pause time.Duration
		if s, err := meter.Stats(); err == nil {
			use, tell, pause = u.of(s, time.Now()), ch, rest.pause(s)
		}
		for due := false; !due || tell != nil; {
			select {
			case tell <- use:
				tell = nil
			case <-next.C:
				due = true
			case <-ctx.Done():
				return
			case <-c.Done():
				return
			case <-d.ctx.Done():
				return
			}
		}
		next.Reset(beat.after(time.Now()) + pause)
	}
}

// beat is when statistics of a task are sent. Those of a node's tasks have a few
// beats in common: what many of them cost is above all that plugin and Nomad
// are woken for each, unless it is for many at once.
type beat struct {
	interval time.Duration
	first    time.Time
}

// phases is how many beats there are in an interval, so that what is done at
// one of them does not hold up a processor for long.
const phases = 4

// shortest bounds what Nomad may ask for.
const shortest = 10 * time.Millisecond

// newBeat returns the last one before now. They are counted from the driver's
// begin.
func newBeat(interval time.Duration, began, now time.Time) beat {
	interval = max(interval, shortest)
	return beat{interval: interval, first: began.Add(now.Sub(began).Truncate(interval / phases))}
}

// after is how long it is from now to the next time.
func (b beat) after(now time.Time) time.Duration {
	return b.interval - now.Sub(b.first)%b.interval
}

// restPeriod is how long at most it is between two looks at a task that still
// uses what it did, if more is asked for. Nomad takes the gauges it publishes
// from what it is told; those it keeps in memory are of ten seconds each.
const restPeriod = 5 * time.Second

// rest tells how much longer than an interval it is to the next look at a task.
type rest struct {
	interval time.Duration
	last     cgroup.Stats
	every    int // in intervals
}

func newRest(interval time.Duration) *rest {
	return &rest{interval: max(interval, shortest), every: 1}
}

// pause takes a reading. One that is as the last makes the time to the next
// twice as long.
func (r *rest) pause(s cgroup.Stats) time.Duration {
	if s != r.last {
		r.last, r.every = s, 1
	} else {
		r.every = max(1, min(2*r.every, int(restPeriod/r.interval)))
	}
	return time.Duration(r.every-1) * r.interval
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
				Measured: measuredMemory(s.Memory),
			},
		},
	}
}

// measuredMemory lists the memory statistics that this kernel provides. Those of the kernel's own
// memory and maxima depend on version and hierarchy, and are never zero in a running task.
func measuredMemory(m cgroup.Memory) []string {
	measured := []string{"RSS", "Cache", "Swap", "Mapped File", "Usage"}
	for _, optional := range []struct {
		name  string
		value uint64
	}{{"Max Usage", m.MaxUsage}, {"Kernel Usage", m.Kernel}, {"Kernel Max Usage", m.MaxKernel}} {
		if optional.value > 0 {
			measured = append(measured, optional.name)
		}
	}
	return measured
}
