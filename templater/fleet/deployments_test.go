package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// whys are the reasons of steps, by job.
func whys(steps []*Step) map[string]string {
	out := map[string]string{}
	for _, s := range steps {
		out[s.ID] = s.Why
	}
	return out
}

func stepsOf(t *testing.T, c *cluster, u *Upgrade) []*Step {
	t.Helper()
	jobs, err := (&Scan{Nomad: c, Rules: u.Rules, Parallel: 2}).Run(t.Context())
	must.NoError(t, err)
	steps, err := u.Plan(t.Context(), jobs)
	must.NoError(t, err)
	return steps
}

// Trap I27.
func TestUpgrade_ScaledSincePlan(t *testing.T) {
	for name, c := range map[string]struct {
		times int // how often the job is scaled before a registration arrives
		want  string
	}{
		"before the registration": {0, Healthy}, "during the registration": {2, Healthy}, "always": {100, Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			nomad, journal := three(t), &bytes.Buffer{}
			u := upgradeOf(t, nomad, rulesOf(t, "1.0.0"), journal)
			steps := stepsOf(t, nomad, u)
			nomad.scale("a", 3)
			scaled := 0
			nomad.onApply = func(n *cluster, id string) {
				if id == "a" && scaled < c.times {
					scaled++
					n.scale("a", 3+scaled)
				}
			}
			must.NoError(t, u.Run(t.Context(), steps))
			must.Eq(t, map[string]string{"a": c.want, "b": Healthy, "c": Healthy}, outcomes(steps))
			must.Eq(t, any(float64(3+scaled)), nomad.count("a"))
			// A registration that Nomad refused leaves nothing to revert.
			back, err := upgradeOf(t, nomad, u.Rules, journal).PlanRevert(t.Context())
			must.NoError(t, err)
			_, has := outcomes(back)["a"]
			must.Eq(t, c.want == Healthy, has)
		})
	}
}

// Whoever registers a job while it is planned again for its counts keeps what he registered.
func TestUpgrade_EditedWhileScaled(t *testing.T) {
	c, asked := three(t), 0
	u := upgradeOf(t, c, rulesOf(t, "1.0.0"), &bytes.Buffer{})
	steps := stepsOf(t, c, u)
	c.scale("a", 3)
	c.onJob = func(c *cluster, id string) {
		if id == "a" {
			if asked++; asked == 2 { // the first read finds the other count
				c.put(app("a", `"mine":"yes"`))
			}
		}
	}
	must.NoError(t, u.Run(t.Context(), steps))
	must.Eq(t, Skipped, outcomes(steps)["a"])
	must.Eq(t, []string{"b", "c"}, c.applied)
}

// Trap I27.
func TestRevert_KeepsCounts(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	rules := rulesOf(t, "1.0.0")
	_, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	c.scale("a", 7)
	u := upgradeOf(t, c, rules, journal)
	steps, err := u.PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, []string{"version 3 → content of version 1, with the current counts"}, steps[2].Changes)
	c.scale("b", 5) // after the plan
	must.NoError(t, u.Revert(t.Context(), steps))
	must.Eq(t, map[string]string{"a": Reverted, "b": Reverted, "c": Reverted}, outcomes(steps))
	must.Eq(t, any(float64(7)), c.count("a"))
	must.Eq(t, any(float64(5)), c.count("b"))
	must.Eq(t, []string{"app"}, tasksOf(t, c, "a"))
}

func TestRevert_VersionNoLongerKept(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	rules := rulesOf(t, "1.0.0")
	_, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	c.versions["b"] = c.versions["b"][1:]
	steps, err := upgradeOf(t, c, rules, journal).PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Planned, "b": Skipped, "c": Planned}, outcomes(steps))
	must.Eq(t, "Nomad no longer keeps version 0", whys(steps)["b"])
}

// Trap I26.
func TestUpgrade_AutoReverted(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	c.sick["a"], c.reverts = true, true
	rules := rulesOf(t, "1.0.0")
	_, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.Eq(t, []string{"app"}, tasksOf(t, c, "a"))
	must.Eq(t, []string{"a"}, c.applied)

	// The same change is not registered again, with other counts neither.
	c.scale("a", 2)
	got, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.ErrorIs(t, err, ErrStopped)
	must.ErrorContains(t, err, "failed in an earlier run")
	must.Eq(t, map[string]string{"a": Skipped, "b": Planned, "c": Planned}, got)
	got, err = upgraded(t, t.Context(), c, rules, journal, func(u *Upgrade) { u.SkipFailed = true })
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, got)
	must.Eq(t, []string{"a", "b", "c"}, c.applied)
	steps, err := upgradeOf(t, c, rules, journal).PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, Unchanged, outcomes(steps)["a"])
	must.StrContains(t, whys(steps)["a"], "already has the content of version 1")

	// Another version of the sidecar is.
	c.sick["a"] = false
	got, err = upgraded(t, t.Context(), c, rulesOf(t, "1.0.0", "1.1.0"), journal, nil)
	must.NoError(t, err)
	must.Eq(t, Healthy, got["a"])
}

// Trap I28.
func TestPlan_Deployments(t *testing.T) {
	c := three(t)
	c.deployments = map[string]*Deployment{
		"a": {ID: "d1", Version: 1, Canaries: true}, "b": {ID: "d2", Version: 0}, "c": {ID: "d3", Paused: true},
	}
	rules := rulesOf(t, "1.0.0")
	steps := stepsOf(t, c, upgradeOf(t, c, rules, &bytes.Buffer{}))
	must.Eq(t, map[string]string{"a": Skipped, "b": Planned, "c": Skipped}, outcomes(steps))
	must.StrContains(t, whys(steps)["a"], "deployment d1 of version 1 has canaries that are not promoted")
	must.Eq(t, "d2 of version 0 is running and will be replaced", steps[1].Deployment)
	must.Eq(t, "its deployment is paused", whys(steps)["c"])

	c = injectedThree(t, rules)
	c.deployments = map[string]*Deployment{"a": {ID: "d1", Canaries: true}}
	steps, err := ejecting(t, t.Context(), c, rules, &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, outcomes(steps))
}

// Trap I25.
func TestUpgrade_ProxyWithOtherCatalog(t *testing.T) {
	older, newer := rulesOf(t, "1.0.0"), rulesOf(t, "1.0.0", "1.1.0", "1.2.0")
	c := newCluster()
	c.put(injected(t, rulesOf(t, "1.1.0"), app("a", "")))
	c.mutate = func(raw []byte) []byte {
		made, diags := older.inject(raw, "proxy")
		must.False(t, diags.HasErrors())
		return made
	}
	for proxy, cause := range map[string]string{
		"":              "Something between this command and Nomad changes the job",
		"sha256:012345": "a nomad-sidecar serve with another catalog (sha256:012345, here sha256:",
	} {
		c.proxy = proxy
		steps := stepsOf(t, c, upgradeOf(t, c, newer, &bytes.Buffer{}))
		must.Eq(t, map[string]string{"a": Skipped}, outcomes(steps))
		must.StrContains(t, whys(steps)["a"], "task beside of group g is of beside 1.0.0, not beside 1.2.0")
		must.StrContains(t, whys(steps)["a"], cause)
	}
	steps, err := ejecting(t, t.Context(), c, newer, &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.StrContains(t, whys(steps)["a"], "task beside of group g, of beside 1.0.0, is not removed")
	must.SliceEmpty(t, c.applied)

	// A proxy that begins to interfere after the plan fails the upgrade.
	interfere := c.mutate
	c.mutate = nil
	u := upgradeOf(t, c, newer, &bytes.Buffer{})
	steps = stepsOf(t, c, u)
	c.mutate = interfere
	err = u.Run(t.Context(), steps)
	must.ErrorIs(t, err, ErrStopped)
	must.ErrorContains(t, err, "it is registered, but not as it was sent")
	must.Eq(t, Failed, steps[0].Outcome)
}

func TestPlan_EmptyPlan(t *testing.T) {
	c := three(t)
	c.mutate = func([]byte) []byte { // Nomad would keep the job as it is
		raw, err := json.Marshal(c.newest("a"))
		must.NoError(t, err)
		return raw
	}
	rules := rulesOf(t, "1.0.0")
	c.put(bytes.Replace(injected(t, rules, app("a", "")), []byte(`"V":"1.0.0"`), []byte(`"V":"2"`), 1)) // marks do not differ
	steps := stepsOf(t, c, upgradeOf(t, c, rules, &bytes.Buffer{}))
	must.Eq(t, Skipped, steps[0].Outcome)
	must.StrContains(t, steps[0].Why, "there are changes to make (group g: beside 1.0.0 recreated without the edits), but Nomad's plan has none.")
}

func TestUpgrade_RefusedJob(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	c.refuses = map[string]bool{"a": true}
	rules := rulesOf(t, "1.0.0")
	got, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, got)
	steps, err := upgradeOf(t, c, rules, journal).PlanRevert(t.Context())
	must.NoError(t, err)
	must.Eq(t, map[string]string{"b": Planned, "c": Planned}, outcomes(steps))
}

func TestPlan_UnreadableJob(t *testing.T) {
	c := three(t)
	c.unreadable = map[string]error{"a": fmt.Errorf("%w: Invalid method", ErrRefused)}
	u := upgradeOf(t, c, rulesOf(t, "1.0.0"), &bytes.Buffer{})
	steps := stepsOf(t, c, u)
	must.NoError(t, u.Run(t.Context(), steps))
	must.Eq(t, map[string]string{"a": Skipped, "b": Healthy, "c": Healthy}, outcomes(steps))
	must.StrContains(t, whys(steps)["a"], "Invalid method")
}

func TestUpgrade_WaitsForRegisteredVersion(t *testing.T) {
	c, journal := three(t), &bytes.Buffer{}
	rules := rulesOf(t, "1.0.0")
	_, err := upgraded(t, t.Context(), c, rules, journal, nil)
	must.NoError(t, err)
	must.Eq(t, map[string]uint64{"a": 2, "b": 1, "c": 1}, c.waited)
	u := upgradeOf(t, c, rules, journal)
	steps, err := u.PlanRevert(t.Context())
	must.NoError(t, err)
	must.NoError(t, u.Revert(t.Context(), steps))
	must.Eq(t, map[string]uint64{"a": 3, "b": 2, "c": 2}, c.waited)
}

func TestHeader_Activity(t *testing.T) {
	for text, want := range map[string]string{
		`{"Type":"service","Status":"dead","TaskGroups":[{"Count":0}]}`:             ScaledOff,
		`{"Type":"service","Status":"dead","TaskGroups":[{"Count":0},{"Count":1}]}`: Dead,
		`{"Type":"batch","Status":"dead","TaskGroups":[{"Count":0}]}`:               Dead,
		`{"Type":"batch","Status":"pending","TaskGroups":[{"Count":0}]}`:            ScaledOff,
		`{"Type":"service","Status":"dead","Stop":true,"TaskGroups":[{"Count":0}]}`: Stopped,
		`{"Type":"system","Status":"running","TaskGroups":[{"Count":0}]}`:           Running,
	} {
		h, err := readHeader([]byte(text))
		must.NoError(t, err)
		must.Eq(t, want, h.activity(), must.Sprint(text))
	}
}

func TestContent(t *testing.T) {
	digest := func(text string) string {
		out, err := content([]byte(text))
		must.NoError(t, err)
		return out
	}
	base := `{"ID":"j","Version":1,"JobModifyIndex":2,"Status":"dead","TaskGroups":[{"Name":"g","Count":1,"Scaling":{"Max":5,"ModifyIndex":2}}]}`
	for _, same := range [][2]string{{`"Version":1`, `"Version":2`}, {`"Count":1`, `"Count":3`}, {`"Status":"dead"`, `"Status":"running"`}, {`"ModifyIndex":2}}`, `"ModifyIndex":0}}`}} {
		must.Eq(t, digest(base), digest(strings.Replace(base, same[0], same[1], 1)), must.Sprint(same))
	}
	for _, other := range [][2]string{{`"ID":"j"`, `"ID":"j","Stop":true`}, {`"Max":5`, `"Max":6`}, {`"Name":"g"`, `"Name":"h"`}} {
		must.NotEq(t, digest(base), digest(strings.Replace(base, other[0], other[1], 1)), must.Sprint(other))
	}
}
