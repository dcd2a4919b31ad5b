package pod

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoenig/test/must"
)

// fill takes all places, and returns how to give them back.
func (p *places) fill(t *testing.T) []func() {
	t.Helper()
	var all []func()
	for range cap(p.taken) {
		giveBack, err := p.take(t.Context())
		must.NoError(t, err)
		all = append(all, giveBack)
	}
	return all
}

func TestNoMorePlacesThanThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(time.Minute)
		all := p.fill(t)
		got := make(chan func())
		go func() {
			giveBack, err := p.take(t.Context())
			must.NoError(t, err)
			got <- giveBack
		}()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("one more than there are")
		default:
		}
		all[0]()
		last := <-got
		for _, giveBack := range append(all[1:], last) {
			giveBack()
		}
		must.Eq(t, 0, len(p.taken))
	})
}

// Runtimes that hang hold up the next for a quarter of the time they are given.
func TestHangingRuntimesLoseTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(time.Minute)
		hanging := p.fill(t)
		began := time.Now()
		next := p.fill(t)
		must.Eq(t, 15*time.Second, time.Since(began))
		for _, giveBack := range hanging {
			giveBack() // theirs they have no more
		}
		must.Eq(t, cap(p.taken), len(p.taken))
		for _, giveBack := range next {
			giveBack()
		}
		must.Eq(t, 0, len(p.taken))
		time.Sleep(time.Hour)
		must.Eq(t, 0, len(p.taken), must.Sprint("and nobody takes another's away"))
	})
}

// Where all are slow, since there are many, more at once would be slower.
func TestSlowRuntimesKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(time.Minute)
		slow := p.fill(t)
		for range 10 {
			time.Sleep(14 * time.Second)
			must.Eq(t, cap(p.taken), len(p.taken))
			slow[0]()
			giveBack, err := p.take(t.Context())
			must.NoError(t, err)
			slow = append(slow[1:], giveBack)
		}
		for _, giveBack := range slow {
			giveBack()
		}
		must.Eq(t, 0, len(p.taken))
	})
}

func TestWhoGivesUpNeedsNoPlace(t *testing.T) {
	p := newPlaces(time.Minute)
	all := p.fill(t)
	stopped := errors.New("the task is stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	_, err := p.take(ctx)
	must.ErrorIs(t, err, stopped)
	for _, giveBack := range all {
		giveBack()
	}
	must.Eq(t, 0, len(p.taken))
}
