package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// ejecting is one run of taking sidecars out, and its steps.
func ejecting(t *testing.T, ctx context.Context, c *cluster, rules *Rules, journal *bytes.Buffer, change func(*Planner, *Upgrade)) ([]*Step, error) {
	t.Helper()
	j, err := OpenJournal(VerbEject, bytes.NewReader(bytes.Clone(journal.Bytes())), journal)
	must.NoError(t, err)
	u := &Upgrade{Planner: Planner{Nomad: c, Rules: rules, Parallel: 2, Eject: true}, Journal: j, Batch: 1, Report: func(Ref, string) {}}
	if change != nil {
		change(&u.Planner, u)
	}
	jobs, err := (&Scan{Nomad: c, Rules: rules, Parallel: 2}).Run(ctx)
	must.NoError(t, err)
	steps, err := u.Plan(ctx, jobs)
	must.NoError(t, err)
	return steps, u.Run(ctx, steps)
}

// injectedThree are three jobs with a sidecar, and one without.
func injectedThree(t *testing.T, rules *Rules) *cluster {
	t.Helper()
	c := newCluster()
	for _, id := range []string{"a", "b", "c"} {
		c.put(app(id, `"kept":"yes"`))
		c.put(injected(t, rules, app(id, `"kept":"yes"`)))
	}
	c.put(bytes.Replace(app("plain", ""), []byte(`"pod"`), []byte(`"exec"`), 1))
	return c
}

func tasksOf(t *testing.T, c *cluster, id string) []string {
	t.Helper()
	raw, err := json.Marshal(c.newest(id)["TaskGroups"])
	must.NoError(t, err)
	var groups []struct{ Tasks []struct{ Name string } }
	must.NoError(t, json.Unmarshal(raw, &groups))
	var out []string
	for _, task := range groups[0].Tasks {
		out = append(out, task.Name)
	}
	return out
}

func TestAnEjectionStopsGoesOnAndGoesBack(t *testing.T) {
	rules := rulesOf(t, "1.0.0")
	c, journal := injectedThree(t, rules), &bytes.Buffer{}
	c.sick["b"] = true
	steps, err := ejecting(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.Eq(t, map[string]string{"a": Healthy, "b": Failed, "c": Planned}, outcomes(steps))
	must.Eq(t, []string{"group g: beside 1.0.0 removed"}, steps[0].Changes)
	must.Eq(t, []string{"g"}, steps[0].Restarts)
	must.Eq(t, []string{"group g: beside returns at the next injection, since rule pods chooses it"}, steps[0].Left)
	must.Eq(t, []string{"app"}, tasksOf(t, c, "a"))
	must.Eq(t, []string{"app", "beside"}, tasksOf(t, c, "c"))

	// As it was left, it stops the next run; recovered, it does not.
	steps, err = ejecting(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.Eq(t, map[string]string{"c": Planned}, outcomes(steps))
	c.sick["b"] = false
	steps, err = ejecting(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"c": Healthy}, outcomes(steps))
	must.Eq(t, []string{"a", "b", "c"}, c.applied)
	for _, id := range c.applied {
		was, now := c.versions[id][0], c.newest(id)
		must.Eq(t, was["TaskGroups"], now["TaskGroups"])
		must.Eq(t, was["Meta"], now["Meta"])
	}
	steps, err = ejecting(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	must.SliceEmpty(t, steps)

	// Back, but not over what somebody has done since; and not with an upgrade's file.
	c.put(app("b", `"mine":"yes"`))
	_, err = OpenJournal(VerbUpgrade, bytes.NewReader(journal.Bytes()), &bytes.Buffer{})
	must.ErrorContains(t, err, "was not written by upgrade")
	j, err := OpenJournal(VerbEject, bytes.NewReader(bytes.Clone(journal.Bytes())), journal)
	must.NoError(t, err)
	u := &Upgrade{Planner: Planner{Nomad: c, Rules: rules, Eject: true}, Journal: j, Batch: 1, Report: func(Ref, string) {}}
	steps, err = u.PlanRevert(t.Context())
	must.NoError(t, err)
	must.NoError(t, u.Revert(t.Context(), steps))
	must.Eq(t, map[string]string{"a": Reverted, "b": Skipped, "c": Reverted}, outcomes(steps))
	must.Eq(t, []string{"app", "beside"}, tasksOf(t, c, "a"))
}

// Somebody registers a job between plan and ejection.
func TestAJobThatChangedIsNotEjectedFrom(t *testing.T) {
	rules, asked := rulesOf(t, "1.0.0"), 0
	c := injectedThree(t, rules)
	again := injected(t, rules, app("a", `"mine":"yes"`))
	c.onJob = func(c *cluster, id string) {
		if id != "a" {
			return
		}
		if asked++; asked == 3 { // after the scan and the plan
			c.put(again)
		}
	}
	steps, err := ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.StrContains(t, steps[0].Why, "registered again after the plan")
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, outcomes(steps))
	must.Eq(t, []string{"b", "c"}, c.applied)
}

func TestAnEjectionGoesInBatches(t *testing.T) {
	rules := rulesOf(t, "1.0.0")
	c := injectedThree(t, rules)
	c.held = make(chan struct{})
	waits := make(chan struct{}, 8)
	done := make(chan error)
	go func() { // received below
		_, err := ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, func(_ *Planner, u *Upgrade) {
			u.Batch = 2
			u.Report = func(_ Ref, line string) {
				if strings.HasPrefix(line, "eval-") {
					waits <- struct{}{}
				}
			}
		})
		done <- err
	}()
	<-waits
	<-waits
	c.mu.Lock()
	must.Eq(t, []string{"a", "b"}, c.applied, must.Sprint("the third waits for these"))
	c.mu.Unlock()
	close(c.held)
	must.NoError(t, <-done)
	must.Eq(t, 3, len(c.applied))
	must.Eq(t, 2, c.together)
}

// both has two sidecars, which share what they need of the app.
func both(t *testing.T) *Rules {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"one", "two"} {
		files[name+".sidecar.hcl"] = &fstest.MapFile{Data: []byte("sidecar \"" + name + "\" {\n  version = \"1.0.0\"\n  requires {\n    share = [\"pid\"]\n  }\n  task \"" + name + "\" {\n    driver = \"pod\"\n  }\n}\n")}
	}
	catalog := &sidecar.Catalog{}
	must.False(t, catalog.Load(files, "").HasErrors())
	return &Rules{Catalog: catalog}
}

func TestWhatIsNotEjectedFrom(t *testing.T) {
	rules := both(t)
	made := func(id, meta string) []byte { return injected(t, rules, app(id, `"sidecar.inject":"one, two"`+meta)) }
	c := newCluster()
	c.put(made("pack", `,"pack.name":"x"`))
	c.put(made("owned", `,"managed_by":"terraform"`))
	c.put(bytes.Replace(made("edited", ""), []byte(`"pid"`), []byte(`"net"`), 1))
	c.put(bytes.Replace(made("doubtful", ""), []byte(`"sidecar.digest":"sha256:`), []byte(`"sidecar.digest":"`), 1))
	c.put(made("whole", ""))
	stopped := made("stopped", "")
	c.put(append(bytes.TrimSuffix(stopped, []byte("}")), `,"Stop":true}`...))
	steps, err := ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"pack": Skipped, "owned": Skipped, "edited": Skipped, "doubtful": Skipped, "stopped": Skipped, "whole": Healthy}, outcomes(steps))
	must.Eq(t, []string{"whole"}, c.applied)
	must.Eq(t, []string{"app"}, tasksOf(t, c, "whole"))
	for _, s := range steps {
		if s.ID == "edited" {
			must.StrContains(t, s.Why, `config share of task "app" is not what this sidecar wrote`)
		}
	}
	steps, err = ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, func(p *Planner, _ *Upgrade) { p.Owned = true })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"pack": Healthy, "owned": Healthy, "edited": Skipped, "doubtful": Skipped, "stopped": Skipped}, outcomes(steps))
}

// Taken out alone, the first would take the namespace with it that the second needs.
func TestOneOfTwoIsNotEjectedAlone(t *testing.T) {
	rules := both(t)
	c := newCluster()
	c.put(injected(t, rules, app("a", `"sidecar.inject":"one, two"`)))
	c.put(injected(t, rules, app("b", `"sidecar.inject":"one"`)))
	steps, err := ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, func(p *Planner, _ *Upgrade) { p.Only = []string{"one"} })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy}, outcomes(steps))
	must.StrContains(t, steps[0].Why, "group g has two as well")
	steps, err = ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, func(p *Planner, _ *Upgrade) { p.Only = []string{"one", "two"} })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Healthy}, outcomes(steps))
}
