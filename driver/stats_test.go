package driver

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Tasks that begin at different times have their statistics sent at a few
// times, and none of them waits for longer than it asked for.
func TestStatisticsAreSentTogether(t *testing.T) {
	began := time.Now()
	at := map[time.Duration]int{}
	for i := range 1000 {
		now := began.Add(time.Duration(i) * 7919 * time.Microsecond)
		b := newBeat(time.Second, began, now)
		first := b.after(now)
		must.Between(t, 750*time.Millisecond, first, time.Second)
		fires := now.Add(first)
		at[fires.Sub(began)%time.Second]++
		must.Eq(t, time.Second, b.after(fires))
		// One that is late is no reason for the next to be.
		must.Eq(t, 900*time.Millisecond, b.after(fires.Add(100*time.Millisecond)))
	}
	must.MapLen(t, phases, at)
	for phase, n := range at {
		must.Between(t, 200, n, 300, must.Sprint(phase))
	}
}

// Nomad keeps what it was told last of a task, so that of one at rest it is
// told that it rests, and then at times.
func TestATaskAtRestIsToldOfAtTimes(t *testing.T) {
	used := func(n uint64) cgroup.Stats { return cgroup.Stats{CPU: cgroup.CPU{TotalNanos: n}} }
	told := func(n *news, reading uint64, times int) (at []int) {
		for i := range times {
			if n.differs(used(reading)) {
				at = append(at, i)
			}
		}
		return at
	}
	n := newNews(time.Second)
	must.Eq(t, []int{0}, told(n, 10, 1))
	must.Eq(t, 0, n.pause())
	must.Eq(t, []int{0, 2, 4}, told(n, 10, 6)) // two seconds each
	must.Eq(t, time.Second, n.pause())
	must.Eq(t, []int{0, 1, 3}, told(n, 20, 4)) // it ran for a moment
	must.Eq(t, []int{0}, told(n, 30, 1))
	must.Eq(t, []int{0}, told(n, 40, 1))
	must.Eq(t, 0, n.pause())

	rare := newNews(10 * time.Second)
	must.Eq(t, []int{0, 1, 2, 3}, told(rare, 10, 4))
	must.Eq(t, 0, rare.pause())
	must.Eq(t, []int{0, 1, 251}, told(newNews(0), 10, 300))
}

func TestStatisticsWithoutAnInterval(t *testing.T) {
	now := time.Now()
	must.Eq(t, shortest, newBeat(0, now, now).after(now))
	must.Eq(t, shortest, newBeat(-time.Second, now, now).after(now))
}
