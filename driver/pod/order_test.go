package pod

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// TestTurn_Limit checks how long a task waits: long for a task that may still start, briefly for one
// that may never start again.
func TestTurn_Limit(t *testing.T) {
	begun := time.Now().Add(-time.Hour)
	early, late := begun.Add(-time.Minute), begun.Add(3*time.Minute)
	for name, tc := range map[string]struct {
		known   bool
		change  func(o *order, proxy *sibling)
		want    time.Duration // after begun
		returns bool
	}{
		"may be unknown": {false, func(o *order, _ *sibling) { o.siblings = o.siblings[:1] }, unknownAfter, false},
		"not started":    {true, func(o *order, _ *sibling) { o.siblings = o.siblings[:1] }, afterTimeout, false},
		"not ready":      {true, func(_ *order, p *sibling) { p.ready = false }, afterTimeout, false},
		"ended":          {true, func(_ *order, p *sibling) { p.ended, p.endedAt = true, late }, 3*time.Minute + returnTimeout, true},
		"ended before":   {true, func(_ *order, p *sibling) { p.ended, p.endedAt = true, early }, returnTimeout, true},
		"removed":        {true, func(o *order, p *sibling) { p.endedAt = late; o.leave(p); o.siblings = o.siblings[:1] }, 3*time.Minute + returnTimeout, true},
		"failed to start": {true, func(o *order, p *sibling) {
			p.ready = false
			o.depart("proxy", departure{at: late})
			o.siblings = o.siblings[:1]
		}, 3*time.Minute + returnTimeout, true},
		"ends at the last moment": {true, func(_ *order, p *sibling) { p.ended, p.endedAt = true, begun.Add(afterTimeout) }, afterTimeout, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, app, proxy := newPartners(t)
			tc.change(o, proxy)
			w := &turn{s: app, begun: begun, known: tc.known}
			over, until := w.check(o)
			must.False(t, over)
			must.Eq(t, []string{"proxy"}, w.missing)
			must.Eq(t, tc.want, until.Sub(begun))
			must.Eq(t, tc.returns, w.returns)
		})
	}
}

// TestAfter_Completed checks that a task that has done its work and was removed is not waited for, and
// that one that failed, was stopped, or must keep running is.
func TestAfter_Completed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(proxy *sibling)
		want   []string
	}{
		"completed": {func(*sibling) {}, nil},
		"failed":    {func(p *sibling) { p.c.exit.Code = 3 }, []string{"proxy"}},
		"killed":    {func(p *sibling) { p.c.exit.Err = context.Canceled }, []string{"proxy"}},
		"stopped":   {func(p *sibling) { p.stopping = true }, []string{"proxy"}},
		"not ready": {func(p *sibling) { p.ready = false }, []string{"proxy"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, app, proxy := newPartners(t)
			close(proxy.c.done)
			tc.change(proxy)
			o.leave(proxy)
			o.siblings = o.siblings[:1]
			must.Eq(t, []string{"proxy"}, o.missing(app)) // restart_with
			app.after, app.restartWith = app.restartWith, nil
			must.Eq(t, tc.want, o.missing(app))
		})
	}
}

// TestTurn_Unknown checks that a name without a directory in the allocation is an error that names the
// key.
func TestTurn_Unknown(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.Mkdir(filepath.Join(dir, "proxy"), 0o755))
	_, app, _ := newPartners(t)
	app.after = []string{"config"}
	for missing, want := range map[string]string{
		"proxy":    "",
		"config":   `after = ["config"] names no task that runs beside this one`,
		"../proxy": `after = ["../proxy"] names no task`,
	} {
		err := (&turn{s: app, allocDir: dir, missing: []string{missing}}).checkKnown()
		if want == "" {
			must.NoError(t, err)
			continue
		}
		must.ErrorContains(t, err, want)
	}
	must.NoError(t, os.Remove(filepath.Join(dir, "proxy")))
	err := (&turn{s: app, allocDir: dir, missing: []string{"proxy"}}).checkKnown()
	must.ErrorContains(t, err, `restart_with = ["proxy"] names no task`)
}

// TestAwaitUntil checks that a wait ends at the time that the latest change has set.
func TestAwaitUntil(t *testing.T) {
	p := &pod{}
	calls := 0
	err := p.awaitUntil(t.Context(), func(*order) (bool, time.Time) {
		if calls++; calls == 1 {
			go p.change(func(*order) {})
			return false, time.Now().Add(time.Hour)
		}
		return false, time.Now()
	})
	must.ErrorIs(t, err, errExpired)
	must.Eq(t, 2, calls)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must.ErrorIs(t, p.await(ctx, func(*order) bool { return false }), context.Canceled)
}
