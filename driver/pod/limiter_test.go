package pod

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoenig/test/must"
)

// fill acquires all slots and returns their release functions.
func (l *limiter) fill(t *testing.T) []func() {
	t.Helper()
	var all []func()
	for range cap(l.taken) {
		release, err := l.acquire(t.Context())
		must.NoError(t, err)
		all = append(all, release)
	}
	return all
}

func TestLimiter_Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Minute)
		all := l.fill(t)
		got := make(chan func())
		go func() {
			release, err := l.acquire(t.Context())
			must.NoError(t, err)
			got <- release
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("acquired more slots than the limit")
		default:
		}
		all[0]()
		last := <-got
		for _, release := range append(all[1:], last) {
			release()
		}
		must.Eq(t, 0, len(l.taken))
	})
}

// Hanging runtimes lose their slots after a quarter of the create timeout.
func TestLimiter_HangingRuntimesLoseSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Minute)
		hanging := l.fill(t)
		began := time.Now()
		next := l.fill(t)
		must.Eq(t, 15*time.Second, time.Since(began))
		for _, release := range hanging {
			release() // no effect, the slots were lost
		}
		must.Eq(t, cap(l.taken), len(l.taken))
		for _, release := range next {
			release()
		}
		must.Eq(t, 0, len(l.taken))
		time.Sleep(time.Hour)
		must.Eq(t, 0, len(l.taken), must.Sprint("slots in use"))
	})
}

// Slow runtimes keep their slots: a higher concurrency would slow them down further.
func TestLimiter_SlowRuntimesKeepSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(time.Minute)
		slow := l.fill(t)
		for range 10 {
			time.Sleep(14 * time.Second)
			must.Eq(t, cap(l.taken), len(l.taken))
			slow[0]()
			release, err := l.acquire(t.Context())
			must.NoError(t, err)
			slow = append(slow[1:], release)
		}
		for _, release := range slow {
			release()
		}
		must.Eq(t, 0, len(l.taken))
	})
}

func TestLimiter_Canceled(t *testing.T) {
	l := newLimiter(time.Minute)
	all := l.fill(t)
	stopped := errors.New("the task is stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	_, err := l.acquire(ctx)
	must.ErrorIs(t, err, stopped)
	for _, release := range all {
		release()
	}
	must.Eq(t, 0, len(l.taken))
}
