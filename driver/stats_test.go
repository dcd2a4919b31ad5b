package driver

import (
	"testing"
	"time"

	"github.com/shoenig/test/must"
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

func TestStatisticsWithoutAnInterval(t *testing.T) {
	now := time.Now()
	must.Eq(t, shortest, newBeat(0, now, now).after(now))
	must.Eq(t, shortest, newBeat(-time.Second, now, now).after(now))
}
