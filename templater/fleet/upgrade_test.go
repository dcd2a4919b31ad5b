package fleet

import (
	"bytes"
	"context"
	"testing"

	"github.com/shoenig/test/must"
)

func three(t *testing.T) *cluster {
	t.Helper()
	c := newCluster()
	c.put(app("a", `"first":"yes"`))
	for _, id := range []string{"a", "b", "c"} {
		c.put(app(id, ""))
	}
	return c
}

func TestAnUpgradeStopsGoesOnAndGoesBack(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	c.sick["b"] = true
	rules := rulesOf(t, "1.0.0")
	got, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.ErrorIs(t, err, errSick)
	must.Eq(t, map[string]string{"a": Healthy, "b": Failed, "c": Planned}, got)

	// As it was left, it stops the next run too, before anything is done.
	got, err = upgraded(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.Eq(t, map[string]string{"c": Planned}, got)
	must.Eq(t, []string{"a", "b"}, c.applied)

	// What is newer mends it, and it has recovered.
	c.sick["b"] = false
	rules = rulesOf(t, "1.0.0", "1.1.0")
	got, err = upgraded(t, t.Context(), c, rules, journal, func(u *Upgrade) { u.Batch = 2 })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Healthy, "b": Healthy, "c": Healthy}, got)
	must.LessEq(t, 2, c.together)
	got, err = upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	must.MapEmpty(t, got)

	// Back to what was before all of it; what somebody changed since stays.
	c.put(app("b", `"mine":"yes"`))
	u := upgradeOf(t, c, rules, journal)
	steps, err := u.PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, "c", steps[0].ID)
	must.NoError(t, u.Revert(t.Context(), steps))
	must.Eq(t, map[string]string{"a": Reverted, "b": Skipped, "c": Reverted}, outcomes(steps))
	must.MapEmpty(t, c.newest("a")["Meta"].(map[string]any))
	must.Len(t, 1, c.newest("a")["TaskGroups"].([]any)[0].(map[string]any)["Tasks"].([]any))
	steps, err = upgradeOf(t, c, rules, journal).PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, map[string]string{"b": Skipped}, outcomes(steps))
}

func TestSkipFailed(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	c.sick["a"] = true
	_, err := upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	got, err := upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), journal, func(u *Upgrade) { u.SkipFailed = true })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"b": Healthy, "c": Healthy}, got)
}

// A run that is interrupted while it waits is gone on with where it was.
func TestAnInterruptedRunIsWaitedForAgain(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	c.held = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := upgraded(t, ctx, c, rulesOf(t, "1.0.0"), journal, func(u *Upgrade) {
		u.Report = func(_ Ref, line string) {
			if line == "eval-a" {
				cancel()
			}
		}
	})
	must.ErrorIs(t, err, context.Canceled)
	c.held = nil
	c.sick["a"] = true
	got, err := upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), journal, nil)
	must.ErrorIs(t, err, errSick)
	must.Eq(t, map[string]string{"b": Planned, "c": Planned}, got)
	c.sick["a"] = false
	got, err = upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), journal, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"b": Healthy, "c": Healthy}, got)
	must.Eq(t, []string{"a", "b", "c"}, c.applied)
}

// Somebody registers a job between plan and upgrade.
func TestAJobThatChangedIsNotTouched(t *testing.T) {
	c, journal, asked := three(t), &bytes.Buffer{}, 0
	c.onJob = func(c *cluster, id string) {
		if id != "a" {
			return
		}
		if asked++; asked == 3 { // after the scan and the plan
			c.put(app("a", `"mine":"yes"`))
		}
	}
	got, err := upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), journal, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, got)
	must.Eq(t, []string{"b", "c"}, c.applied)
}

// Killed between the registration and its note, nobody knows whose version it is.
func TestAJournalThatEndsTooSoon(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	rules := rulesOf(t, "1.0.0")
	_, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	head, _, _ := bytes.Cut(journal.Bytes(), []byte(`{"event":"registered"`))
	for name, cut := range map[string]struct {
		text []byte
		want map[string]string
	}{
		"before the note": {head, map[string]string{"a": Skipped}},
		"within the note": {append(bytes.Clone(head), `{"event":"regis`...), map[string]string{"a": Skipped}},
		"before the job":  {head[:bytes.IndexByte(head, '\n')+1], map[string]string{}},
	} {
		cut := cut
		left := bytes.NewBuffer(cut.text)
		steps, err := upgradeOf(t, c, rules, left).PlanRevert(t.Context())
		must.NoError(t, err, must.Sprint(name))
		must.Eq(t, cut.want, outcomes(steps), must.Sprint(name))
		must.True(t, bytes.HasSuffix(left.Bytes(), []byte("\n")), must.Sprint(name))
	}
	_, err = OpenJournal(VerbUpgrade, bytes.NewReader([]byte(`job "web" {}`)), &bytes.Buffer{})
	must.ErrorContains(t, err, "was not written by upgrade")
}

func TestWhatIsNotTouched(t *testing.T) {
	c := newCluster()
	c.put(app("pack", `"pack.name":"x"`))
	c.put(app("owned", `"managed_by":"terraform"`))
	c.put(app("ahead", ""))
	made, diags := rulesOf(t, "2.0.0").inject(app("ahead", ""), "ahead")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	c.put(made)
	forged := bytes.Replace(app("forged", ""), []byte(`"Name":"app"`), []byte(`"Name":"app","Meta":{"sidecar.name":"beside"}`), 1)
	c.put(forged)
	c.put(app("paused", ""))
	c.paused = "paused"
	got, err := upgraded(t, t.Context(), c, rulesOf(t, "1.0.0"), &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"pack": Skipped, "owned": Skipped, "ahead": Skipped, "forged": Skipped, "paused": Skipped}, got)
	must.SliceEmpty(t, c.applied)
}

// A job that was named is not left out silently.
func TestPlan_NamedInactive(t *testing.T) {
	c := newCluster()
	c.put(app("batch", ""))
	c.put(app("stopped", ""))
	c.newest("batch")["Type"], c.newest("batch")["Status"] = "sysbatch", "dead"
	c.newest("stopped")["Stop"] = true
	rules := rulesOf(t, "1.0.0")
	scan := &Scan{Nomad: c, Rules: rules}
	jobs, err := scan.Run(t.Context())
	must.NoError(t, err)
	planned := func(named ...string) map[string]string {
		steps, err := (&Planner{Nomad: c, Rules: rules, Named: named}).Plan(t.Context(), jobs)
		must.NoError(t, err)
		out := map[string]string{}
		for _, s := range steps {
			out[s.ID] = s.Outcome + ": " + s.Why
		}
		return out
	}
	must.MapEmpty(t, planned())
	must.Eq(t, map[string]string{"batch": "skipped: it is dead", "stopped": "skipped: it is stopped"}, planned("batch", "stopped"))

	c.put(injected(t, rules, app("batch", ""))) // up to date
	c.newest("batch")["Type"], c.newest("batch")["Status"] = "sysbatch", "dead"
	jobs, err = (&Scan{Nomad: c, Rules: rules}).Run(t.Context())
	must.NoError(t, err)
	must.MapEmpty(t, planned("batch"))
}
