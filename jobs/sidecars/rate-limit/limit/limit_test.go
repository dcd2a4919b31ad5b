package limit

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"pgregory.net/rapid"
)

func newLimiter(t *testing.T, client, global Rate, clients int) *Limiter {
	t.Helper()
	l, err := New(client, global, clients)
	must.NoError(t, err)
	return l
}

var start = time.Unix(1_700_000_000, 0)

func TestABurstPassesThenTheRate(t *testing.T) {
	l := newLimiter(t, Rate{2, 3}, Rate{}, 10)
	for left := 2; left >= 0; left-- {
		d := l.Take("a", start)
		must.Eq(t, Decision{Remaining: left, Reset: time.Duration(3-left) * time.Second / 2}, d)
	}
	must.Eq(t, Decision{Refused: Client, Reset: 1500 * time.Millisecond, RetryAfter: 500 * time.Millisecond}, l.Take("a", start))
	must.Eq(t, None, l.Take("b", start).Refused, must.Sprint("another client's bucket is its own"))

	later := start.Add(500 * time.Millisecond)
	must.Eq(t, None, l.Take("a", later).Refused)
	must.Eq(t, Client, l.Take("a", later).Refused)
	must.Eq(t, 2, l.Take("a", start.Add(time.Hour)).Remaining, must.Sprint("never more than a burst"))
}

func TestWhoIsRefusedTakesNothingFromOthers(t *testing.T) {
	l := newLimiter(t, Rate{1, 2}, Rate{1, 3}, 10)
	for range 100 {
		l.Take("greedy", start)
	}
	must.Eq(t, None, l.Take("modest", start).Refused, must.Sprint("of three, two are gone"))
	d := l.Take("modest", start)
	must.Eq(t, Global, d.Refused)
	must.Eq(t, 1, d.Remaining, must.Sprint("it keeps its own token"))
	must.Eq(t, time.Second, d.RetryAfter)
	must.Eq(t, None, l.Take("modest", start.Add(time.Second)).Refused)
}

func TestClientsAreBounded(t *testing.T) {
	l := newLimiter(t, Rate{1, 1}, Rate{}, 2)
	l.Take("a", start)
	l.Take("b", start)
	must.Eq(t, Client, l.Take("a", start).Refused, must.Sprint("and is used now"))
	l.Take("c", start)
	must.Eq(t, 2, l.Clients())
	must.Eq(t, 1, l.Evicted())
	must.Eq(t, Client, l.Take("a", start).Refused, must.Sprint("b was the one to go"))
	must.Eq(t, None, l.Take("b", start).Refused, must.Sprint("it begins anew"))
}

func TestManyAtOnceGetExactlyABurst(t *testing.T) {
	l := newLimiter(t, Rate{0.001, 50}, Rate{}, 10)
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 20 {
				if l.Take("a", start).Refused == None {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	must.Eq(t, 50, passed.Load())
}

// In any stretch of time a client gets no more than a burst and what the rate
// adds; and who waits as long as told gets through.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{rapid.Float64Range(0.01, 1000).Draw(t, "rate"), rapid.IntRange(1, 100).Draw(t, "burst")}
		l, err := New(r, Rate{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		now, passed := start, 0
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			d := l.Take("a", now)
			if d.Refused == None {
				passed++
			} else if rapid.Bool().Draw(t, "waits") {
				now = now.Add(d.RetryAfter + time.Microsecond) // rounding is below that
				if d = l.Take("a", now); d.Refused != None {
					t.Fatalf("waited as told and was refused: %+v", d)
				}
				passed++
			}
			if most := float64(r.Burst) + r.PerSecond*now.Sub(start).Seconds(); float64(passed) > most+1e-6 {
				t.Fatalf("%d passed of at most %v", passed, most)
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, r := range []Rate{{0, 1}, {-1, 1}, {math.NaN(), 1}, {math.Inf(1), 1}, {1, 0}} {
		_, err := New(r, Rate{}, 1)
		must.ErrorContains(t, err, "want", must.Sprint(r))
		_, err = New(Rate{1, 1}, r, 1)
		must.ErrorContains(t, err, "all clients: ", must.Sprint(r))
	}
	_, err := New(Rate{1, 1}, Rate{}, 0)
	must.ErrorContains(t, err, "0 clients")
}

func BenchmarkTake(b *testing.B) {
	l, err := New(Rate{100, 100}, Rate{1e6, 1000}, 10_000)
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = fmt.Sprint("client-", i)
	}
	for i := 0; b.Loop(); i++ {
		l.Take(keys[i%len(keys)], start.Add(time.Duration(i)*time.Microsecond))
	}
}
