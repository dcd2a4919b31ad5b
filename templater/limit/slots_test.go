package limit

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoenig/test/must"
)

func client(n byte) Client { return At(netip.AddrFrom4([4]byte{192, 0, 2, n})) }

// acquired takes all slots available to a client, without waiting.
func acquired(s *Slots, c Client, use Use) (all []func(), err error) {
	for {
		release, err := s.Acquire(context.Background(), c, use, 0)
		if err != nil {
			return all, err
		}
		all = append(all, release)
	}
}

func TestSlots_PerClient(t *testing.T) {
	s := &Slots{Total: 90, Reserved: 10, PerClient: 40}
	watches, err := acquired(s, client(1), Watch)
	must.ErrorIs(t, err, ErrClient)
	must.Len(t, 30, watches)
	requests, err := acquired(s, client(1), Request)
	must.ErrorIs(t, err, ErrClient)
	must.Len(t, 10, requests)
	jobs, err := acquired(s, client(1), Job)
	must.ErrorIs(t, err, ErrClient)
	must.Len(t, 40, jobs)
	for _, release := range jobs {
		release()
	}
	more, err := acquired(s, client(2), Watch)
	must.ErrorIs(t, err, ErrClient)
	must.Len(t, 30, more)
	_, err = acquired(s, client(3), Watch)
	must.ErrorIs(t, err, ErrTotal)
	last, err := acquired(s, client(3), Request)
	must.ErrorIs(t, err, ErrTotal)
	must.Len(t, 10, last)
	// The reserved slots remain for jobs.
	jobs, err = acquired(s, client(4), Job)
	must.ErrorIs(t, err, ErrTotal)
	must.Len(t, 10, jobs)
	for _, release := range append(append(append(append(watches, requests...), more...), last...), jobs...) {
		release()
	}
	must.Eq(t, [uses]int{}, s.Used())
	must.MapEmpty(t, s.by)
}

func TestSlots_Wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Slots{Total: 1, PerClient: 1}
		first, err := s.Acquire(t.Context(), client(1), Request, 0)
		must.NoError(t, err)
		begin := time.Now()
		_, err = s.Acquire(t.Context(), client(2), Request, time.Second)
		must.ErrorIs(t, err, ErrTotal)
		must.Eq(t, time.Second, time.Since(begin))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = s.Acquire(ctx, client(2), Request, time.Hour)
		must.ErrorIs(t, err, context.Canceled)
		time.AfterFunc(time.Minute, first)
		second, err := s.Acquire(t.Context(), client(2), Request, time.Hour)
		must.NoError(t, err)
		second()
		must.Eq(t, [uses]int{}, s.Used())
		must.SliceEmpty(t, s.waiting)
	})
}

func TestSlots_Unbounded(t *testing.T) {
	s := &Slots{}
	for range 1000 {
		_, err := s.Acquire(t.Context(), client(1), Watch, 0)
		must.NoError(t, err)
	}
}

func TestShares(t *testing.T) {
	s := &Shares{Total: 10, PerClient: 6}
	must.NoError(t, s.Take(client(1), 6))
	must.ErrorIs(t, s.Take(client(1), 1), ErrClient)
	must.ErrorIs(t, s.Take(client(2), 5), ErrTotal)
	must.NoError(t, s.Take(client(2), 4))
	s.Give(client(1), 6)
	must.NoError(t, s.Take(Client{}, 6)) // without an address only the total counts
	must.ErrorIs(t, s.Take(Client{}, 1), ErrTotal)
	s.Give(Client{}, 6)
	s.Give(client(2), 4)
	must.Zero(t, s.Used())
	must.MapEmpty(t, s.by)
}
