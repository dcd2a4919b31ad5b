package driver

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// TestBeat_Aligned checks that the statistics of tasks that start at different times are sent at
// few points in time, and that no task waits longer than its interval.
func TestBeat_Aligned(t *testing.T) {
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
		// A late beat does not delay the next one.
		must.Eq(t, 900*time.Millisecond, b.after(fires.Add(100*time.Millisecond)))
	}
	must.MapLen(t, beatsPerInterval, at)
	for phase, n := range at {
		must.Between(t, 200, n, 300, must.Sprint(phase))
	}
}

// TestBackoff_IdleTask checks that an idle task is reported once as idle, and then less and less
// often.
func TestBackoff_IdleTask(t *testing.T) {
	pauses := func(r *backoff, reading uint64, times int) (seconds []float64) {
		for range times {
			s := cgroup.Stats{CPU: cgroup.CPU{TotalNanos: reading}}
			seconds = append(seconds, r.delay(s).Seconds())
		}
		return seconds
	}
	r := newBackoff(time.Second)
	must.Eq(t, []float64{0, 1, 3, 4, 4}, pauses(r, 10, 5))
	must.Eq(t, []float64{0, 1}, pauses(r, 20, 2)) // it ran briefly
	must.Eq(t, []float64{0}, pauses(r, 30, 1))
	must.Eq(t, []float64{0, 1, 3}, pauses(r, 40, 3))

	must.Eq(t, []float64{0, 0, 0}, pauses(newBackoff(10*time.Second), 10, 3), must.Sprint("interval above the maximum pause"))
	always := pauses(newBackoff(0), 10, 20)
	must.Eq(t, 4.99, always[len(always)-1])
}

func TestBeat_NoInterval(t *testing.T) {
	now := time.Now()
	must.Eq(t, minInterval, newBeat(0, now, now).after(now))
	must.Eq(t, minInterval, newBeat(-time.Second, now, now).after(now))
}
