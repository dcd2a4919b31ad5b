package fleet

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// meshRules have one rule, which gives proxies their driver, and no sidecars.
func meshRules(t *testing.T, text string) *Rules {
	t.Helper()
	rules := &policy.Policy{}
	diags := rules.Add([]byte(text), "p.policy.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return &Rules{Catalog: &sidecar.Catalog{}, Policy: rules}
}

const (
	meshRule  = "rule \"mesh\" {\n  connect = \"pod\"\n}\n"
	otherRule = "rule \"mesh\" {\n  match {\n    job = [\"other\"]\n  }\n  connect = \"pod\"\n}\n"
)

// meshApp is a stored job with a proxy.
func meshApp(id, driver string) []byte {
	return fmt.Appendf(nil, `{"ID":%q,"Type":"service","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge"}],`+
		`"Services":[{"Name":"api","PortLabel":"9001","Connect":{"SidecarService":{}}}],`+
		`"Tasks":[{"Name":"app","Driver":%q},{"Name":"connect-proxy-api","Kind":"connect-proxy:api","Driver":"docker","Config":{"image":"x"}}]}]}`, id, driver)
}

func TestProxies_States(t *testing.T) {
	mesh, other := meshRules(t, meshRule), meshRules(t, otherRule)
	with := injected(t, mesh, meshApp("a", "pod"))
	for name, c := range map[string]struct {
		rules         *Rules
		raw           []byte
		state, reason string
	}{
		"as it should be":       {mesh, with, StateOK, ""},
		"not there":             {mesh, meshApp("a", "pod"), StateMissing, "rule mesh gives it driver pod"},
		"no rule any more":      {other, with, StateUnwanted, "the policy gave it its driver and no longer does"},
		"no pod any more":       {mesh, bytes.Replace(with, []byte(`"Name":"app","Driver":"pod"`), []byte(`"Name":"app","Driver":"exec"`), 1), StateUnwanted, `no task of the group has driver "pod"`},
		"without the policy":    {&Rules{Catalog: mesh.Catalog}, with, StateOK, ""},
		"neither rule nor mark": {other, meshApp("a", "pod"), "", ""},
		"no pod":                {mesh, meshApp("a", "exec"), "", ""},
	} {
		j, err := c.rules.Inspect(c.raw)
		must.NoError(t, err)
		if c.state == "" {
			must.SliceEmpty(t, j.Proxies(), must.Sprint(name))
			must.False(t, j.differs(), must.Sprint(name))
			continue
		}
		must.Eq(t, []*Proxy{{Service: "api", Driver: "pod", State: c.state, Reason: c.reason}}, j.Proxies(), must.Sprint(name))
		must.Eq(t, c.state != StateOK, j.differs(), must.Sprint(name))
		must.Eq(t, "proxy of api", j.Groups[0].Rows()[0].Name)
		must.True(t, Filter{States: []string{c.state}}.Narrow(j))
		must.False(t, Filter{Sidecars: []string{"api"}}.Narrow(j))
	}
}

// An upgrade gives proxies the driver of the rule, takes it back when the rule goes, and an ejection
// takes it back too.
func TestProxies_Upgrade(t *testing.T) {
	mesh, other := meshRules(t, meshRule), meshRules(t, otherRule)
	c := newCluster()
	c.put(meshApp("a", "pod"))
	steps := func(rules *Rules) (out []string) {
		jobs, err := (&Scan{Nomad: c, Rules: rules, Parallel: 1}).Run(t.Context())
		must.NoError(t, err)
		u := upgradeOf(t, c, rules, &bytes.Buffer{})
		planned, err := u.Plan(t.Context(), jobs)
		must.NoError(t, err)
		must.NoError(t, u.Run(t.Context(), planned))
		for _, s := range planned {
			out = append(out, append(s.Changes, s.Why)...)
		}
		return out
	}
	must.Eq(t, []string{"group g: proxy of api gets driver pod", ""}, steps(mesh))
	must.SliceEmpty(t, steps(mesh))
	must.Eq(t, []string{"group g: proxy of api gets the driver that Nomad chooses", ""}, steps(other))
	must.SliceEmpty(t, steps(other))

	c.put(injected(t, mesh, meshApp("a", "pod")))
	ejected, err := ejecting(t, t.Context(), c, mesh, &bytes.Buffer{}, nil)
	must.NoError(t, err)
	must.Len(t, 1, ejected)
	must.Eq(t, []string{"group g: proxy of api gets the driver that Nomad chooses"}, ejected[0].Changes)
	must.Eq(t, []string{"group g: proxy of api gets driver pod again at the next injection, since rule mesh gives it driver pod"}, ejected[0].Left)
}
