package pod

import (
	"testing"

	"github.com/shoenig/test/must"
)

// newPartners returns the order of a proxy and of an app that restarts with it.
func newPartners(t *testing.T) (o *order, app, proxy *sibling) {
	t.Helper()
	m := New(Config{RunDir: t.TempDir(), DataDir: t.TempDir()})
	t.Cleanup(func() { must.NoError(t, m.Close()) })
	app = m.newContainer(&pod{m: m}, Task{ID: "a1", Name: "app", RestartWith: []string{"proxy"}}).sibling
	proxy = m.newContainer(&pod{m: m}, Task{ID: "p1", Name: "proxy"}).sibling
	proxy.ready = true
	return &order{siblings: []*sibling{app, proxy}}, app, proxy
}

func TestRestartWith_WaitsForPartnerThatStays(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*sibling)
		want   []string
	}{
		"ready":     {func(*sibling) {}, nil},
		"not ready": {func(p *sibling) { p.ready = false }, []string{"proxy"}},
		"stopping":  {func(p *sibling) { p.stopping = true }, []string{"proxy"}},
		"ended":     {func(p *sibling) { p.ended = true }, []string{"proxy"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, app, proxy := newPartners(t)
			tc.change(proxy)
			must.Eq(t, tc.want, o.missing(app))
		})
	}
}

func TestRestartWith_LostPartner(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(o *order, app, proxy *sibling)
		want   string
	}{
		"runs":              {func(*order, *sibling, *sibling) {}, ""},
		"ended":             {func(_ *order, _, p *sibling) { p.ended = true }, "ended"},
		"stops":             {func(_ *order, _, p *sibling) { p.stopping = true }, ""},
		"another instance":  {func(_ *order, _, p *sibling) { p.c.state.TaskID = "p2" }, "was restarted"},
		"not recovered":     {func(o *order, a, _ *sibling) { o.siblings = []*sibling{a} }, ""},
		"stops as well":     {func(_ *order, a, p *sibling) { a.stopping, p.ended = true, true }, ""},
		"is not ready yet":  {func(_ *order, a, p *sibling) { a.ready, p.ended = false, true }, ""},
		"has ended already": {func(_ *order, a, p *sibling) { a.ended, p.ended = true, true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, app, proxy := newPartners(t)
			o.pair(app)
			app.ready = true
			tc.change(o, app, proxy)
			_, how := o.lostPartner(app)
			must.Eq(t, tc.want, how)
		})
	}
}
