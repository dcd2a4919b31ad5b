package driver

import (
	"context"
	"time"

	"github.com/hashicorp/nomad/client/lib/cpustats"
	cstructs "github.com/hashicorp/nomad/client/structs"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// TaskStats sends a task's usage, now and at every interval, until ctx or the task
// ends. Idle tasks are sampled less often, down to every five seconds or the requested
// interval if that is longer: more samples would cost the node without adding information.
func (d *Driver) TaskStats(ctx context.Context, taskID string, interval time.Duration) (<-chan *cstructs.TaskResourceUsage, error) {
	if p := d.pullTask(taskID); p != nil {
		return p.stats(ctx, d.ctx), nil
	}
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
	idle := newBackoff(interval)
	for {
		// Between the end of the processes and the end of the task there is nothing to
		// read; the next iteration ends.
		var use *cstructs.TaskResourceUsage
		var send chan<- *cstructs.TaskResourceUsage // nil: nothing to send
		var pause time.Duration
		if s, err := meter.Stats(); err == nil {
			use, send, pause = u.of(s, time.Now()), ch, idle.delay(s)
		}
		for due := false; !due || send != nil; {
			select {
			case send <- use:
				send = nil
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

// beat determines when the statistics of a task are sent. All tasks of a node share
// a few beats: most of the cost is waking the plugin and Nomad, which is cheaper for
// many tasks together.
type beat struct {
	interval time.Duration
	first    time.Time
}

// beatsPerInterval is more than one so that the work of one beat does not occupy a CPU for long.
const beatsPerInterval = 4

// minInterval is the minimum interval.
const minInterval = 10 * time.Millisecond

// newBeat returns the last beat before now, counted from the driver's start.
func newBeat(interval time.Duration, began, now time.Time) beat {
	interval = max(interval, minInterval)
	return beat{interval: interval, first: began.Add(now.Sub(began).Truncate(interval / beatsPerInterval))}
}

// after returns the time from now to the next beat.
func (b beat) after(now time.Time) time.Duration {
	return b.interval - now.Sub(b.first)%b.interval
}

// maxIdlePeriod is the maximum time between samples of an idle task, unless a longer
// interval was requested. Nomad publishes gauges from these samples, and keeps
// in-memory gauges for ten seconds each.
const maxIdlePeriod = 5 * time.Second

// backoff computes the delay of the next sample of an idle task.
type backoff struct {
	interval time.Duration
	last     cgroup.Stats
	every    int // in intervals
}

func newBackoff(interval time.Duration) *backoff {
	return &backoff{interval: max(interval, minInterval), every: 1}
}

// delay records a sample. If it equals the last one, the delay doubles.
func (b *backoff) delay(s cgroup.Stats) time.Duration {
	if s != b.last {
		b.last, b.every = s, 1
	} else {
		b.every = max(1, min(2*b.every, int(maxIdlePeriod/b.interval)))
	}
	return time.Duration(b.every-1) * b.interval
}

// usage converts counters to Nomad's statistics, relative to the previous counters.
type usage struct{ total, user, system *cpustats.Tracker }

func newUsage(c cpustats.Compute) *usage {
	if c.NumCores == 0 {
		c.NumCores = 1 // an agent that did not send it; ticks are 0 then
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

// measuredMemory lists the memory statistics that this kernel provides. Whether it provides the
// kernel's own memory and maxima depends on version and hierarchy; they are never zero in a running
// task.
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
