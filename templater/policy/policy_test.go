package policy

import (
	"fmt"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

func parse(t *testing.T, src string) *Policy {
	t.Helper()
	p := &Policy{}
	diags := p.Add([]byte(src), "p.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return p
}

func known(s string) job.Text { return job.Text{Value: s} }

func aJob() (*job.Job, *job.Group) {
	g := &job.Group{
		Name: "web", Meta: map[string]job.Text{"tier": {Value: "front"}},
		Networks: []*job.Network{{Mode: known("cni/mesh")}},
		Tasks:    []*job.Task{{Name: "a", Driver: known("docker")}, {Name: "b", Driver: known("pod")}},
	}
	return &job.Job{
		ID: known("team/web"), Name: known("web"), Namespace: known("prod-eu"), Region: known("europe"), NodePool: known("gpu"), Type: known("service"),
		Datacenters: []job.Text{known("dc1"), known("dc2")}, Groups: []*job.Group{g},
		Meta: map[string]job.Text{"team": {Value: "payments"}, "tier": {Value: "back"}},
	}, g
}

func TestMatch(t *testing.T) {
	for text, want := range map[string]bool{
		``:                       true,
		`namespace = ["prod-*"]`: true, `namespace = ["prod"]`: false, `namespace = ["dev", "prod-eu"]`: true,
		`region = ["eu*"]`: true, `region = ["global"]`: false,
		`node_pool = ["gpu"]`: true, `node_pool = ["default"]`: false,
		`datacenter = ["dc2"]`: true, `datacenter = ["dc3"]`: false,
		`type = ["batch"]`: false, `job = ["team/*"]`: true, `job = ["*web"]`: true, `job = ["web"]`: false,
		`group = ["w*"]`: true, `group = ["api"]`: false,
		`network = ["cni"]`: true, `network = ["bridge"]`: false,
		`driver = ["pod"]`: true, `driver = ["raw_exec"]`: false,
		`meta = { team = "pay*" }`: true, `meta = { team = "other" }`: false, `meta = { none = "*" }`: false,
		`meta = { tier = "front" }`: true, `meta = { tier = "back" }`: false,
		"namespace = [\"prod-eu\"]\njob = [\"other\"]": false,
	} {
		p := parse(t, "rule \"r\" {\n match {\n"+text+"\n}\n inject \"x\" {}\n}\n")
		j, g := aJob()
		orders, diags := p.Orders(j, g)
		must.False(t, diags.HasErrors())
		must.Eq(t, want, len(orders) == 1, must.Sprint(text))
	}
}

// A job that may run anywhere matches a rule about a place.
func TestMatch_JobPattern(t *testing.T) {
	j, g := aJob()
	j.Datacenters, j.NodePool = []job.Text{known("dc*")}, known("all")
	p := parse(t, `rule "r" {
  match {
    datacenter = ["dc9"]
    node_pool  = ["gpu"]
  }
  inject "x" {}
}`)
	orders, _ := p.Orders(j, g)
	must.Len(t, 1, orders)
}

func TestCheck_NotEvaluable(t *testing.T) {
	p := parse(t, `rule "r" {
  validation {
    condition     = parseint(job.meta.team, 10) > 1
    error_message = "no"
  }
}`)
	j, _ := aJob()
	diags := p.Check(j, nil)
	must.Len(t, 1, diags)
	must.StrContains(t, diags[0].Detail, "cannot be evaluated")
	must.Eq(t, 2, diags[0].Subject.Start.Line)
}

// Conditions get the images that a group runs, including those of tasks marked as injected. If an
// image is unknown, the condition fails.
func TestCheck_Images(t *testing.T) {
	p := parse(t, `rule "no-latest" {
  validation {
    condition     = length([for i in group.images : i if length(split(":", element(split("/", i), length(split("/", i)) - 1))) == 1 || trimsuffix(i, ":latest") != i]) == 0
    error_message = "Group ${group.name} runs ${join(", ", group.images)}: name a version."
  }
}`)
	with := func(values ...cty.Value) *job.Job {
		j, g := aJob()
		for i, v := range values {
			task := &job.Task{Name: fmt.Sprint(i), Driver: known("docker"), Config: map[string]job.Setting{"image": {Value: v}}}
			if i == 0 {
				g.Tasks = append(g.Tasks, task)
			} else {
				g.Kept = append(g.Kept, task)
			}
		}
		return j
	}
	good, latest, none := cty.StringVal("registry:5000/app:1.2"), cty.StringVal("app:latest"), cty.StringVal("registry:5000/app")
	must.SliceEmpty(t, p.Check(with(), nil))
	must.SliceEmpty(t, p.Check(with(good, good), nil))
	must.SliceEmpty(t, p.Check(with(cty.StringVal("app@sha256:0123")), nil))
	for _, bad := range []*job.Job{with(latest), with(none), with(good, latest)} {
		must.Len(t, 1, p.Check(bad, nil))
	}
	must.StrContains(t, p.Check(with(good, latest), nil)[0].Detail, "Group web runs registry:5000/app:1.2, app:latest: name a version.")
	for _, unknown := range []cty.Value{cty.UnknownVal(cty.String), cty.NullVal(cty.String), cty.DynamicVal, cty.EmptyObjectVal} {
		must.Len(t, 1, p.Check(with(good, unknown), nil), must.Sprint(unknown))
	}
}

// Conditions get the chosen sidecars of a group. Sidecars already in the job are listed separately,
// since anyone can write their marks.
func TestCheck_Sidecars(t *testing.T) {
	p := parse(t, `rule "logs" {
  validation {
    condition     = contains(group.sidecars, "log-shipper")
    error_message = "Group ${group.name} has ${length(group.sidecars)} sidecars, and none ships its logs."
  }
}`)
	j, g := aJob()
	check := func(s templater.Sidecars) hcl.Diagnostics {
		return p.Check(j, map[*job.Group]templater.Sidecars{g: s})
	}
	must.SliceEmpty(t, check(templater.Sidecars{Chosen: []string{"log-shipper", "topz"}}))
	must.Eq(t, `Rule "logs": Group web has 1 sidecars, and none ships its logs.`, check(templater.Sidecars{Chosen: []string{"topz"}})[0].Detail)
	must.StrContains(t, check(templater.Sidecars{Kept: []string{"log-shipper"}})[0].Detail, `contains tasks marked as log-shipper, which do not count`)
	must.Len(t, 1, p.Check(j, nil))
}

// TestCheck_ConstantCondition: a rule may be the same for every job.
func TestCheck_ConstantCondition(t *testing.T) {
	for condition, denied := range map[string]int{"false": 1, "true": 0, `length(["a"]) > 1`: 1} {
		p := parse(t, "rule \"freeze\" {\n validation {\n condition = "+condition+"\n error_message = \"No deployments this week.\"\n}\n}")
		j, _ := aJob()
		diags := p.Check(j, nil)
		must.Len(t, denied, diags, must.Sprint(condition))
		if denied > 0 {
			must.Eq(t, `Rule "freeze": No deployments this week.`, diags[0].Detail)
		}
	}
}

// Trap I6: an unknown field in a policy is a load error with its position.
func TestLoad_UnknownPolicyField(t *testing.T) {
	for src, line := range map[string]int{
		"rule \"r\" {\n inject \"x\" {}\n requird = true\n}":                   3,
		"rule \"r\" {\n inject \"x\" {}\n match {\n namespaces = [\"\"]\n}\n}": 4,
		"rules \"r\" {\n}": 1,
		"rule \"r\" {\n validation {\n condition = job.id == \"\"\n error_message = \"\"\n warn = true\n}\n}":     5,
		"rule \"r\" {\n inject \"x\" {\n nested {}\n}\n}":                                                         3,
		"rule \"r\" {\n on_error = \"allow\"\n inject \"x\" {}\n}":                                                2,
		"rule \"r\" {\n required = true\n validation {\n condition = job.id == \"\"\n error_message = \"\"\n}\n}": 2,
		"rule \"r\" {\n inject \"x\" {\n version = \"soon\"\n}\n}":                                                3,
		"rule \"r\" {\n inject \"x\" {\n a = param.b\n}\n}":                                                       3,
		"rule \"r\" {\n inject \"x\" {\n a = group.sidecars\n}\n}":                                                3,
		"rule \"r\" {\n validation {\n condition = 1\n error_message = \"\"\n}\n}":                                3,
		"rule \"r\" {\n match {\n job = []\n}\n inject \"x\" {}\n}":                                               3,
		"rule \"r\" {\n inject \"x\" {}\n}\nrule \"r\" {\n inject \"y\" {}\n}":                                    4,
	} {
		diags := (&Policy{}).Add([]byte(src), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(src))
		must.Eq(t, line, diags[0].Subject.Start.Line, must.Sprintf("%s\n%v", src, diags))
		must.Eq(t, "p.hcl", diags[0].Subject.Filename)
	}
}

// The level of a validation is deny unless it says otherwise, and nothing but the two words is
// accepted.
func TestValidation_Level(t *testing.T) {
	for level, want := range map[string]hcl.DiagnosticSeverity{"": hcl.DiagError, `level = "deny"`: hcl.DiagError, `level = "warn"`: hcl.DiagWarning} {
		p := parse(t, "rule \"r\" {\n validation {\n"+level+"\n condition = job.id == \"other\"\n error_message = \"no\"\n}\n}\n")
		j, _ := aJob()
		diags := p.Check(j, nil)
		must.Len(t, 1, diags)
		must.Eq(t, want, diags[0].Severity, must.Sprint(level))
		must.Eq(t, templater.ByRule("r"), diags[0].Extra.(templater.ByRule))

		j.ID = job.Text{Unknown: &diagnostic.Unknown{Expr: "var.id", WayOut: "Set it."}}
		diags = p.Check(j, nil)
		must.Len(t, 1, diags)
		must.Eq(t, want, diags[0].Severity, must.Sprint(level))
	}
	for _, level := range []string{`"warning"`, `""`, "1", "job.id", "null"} {
		var p Policy
		diags := p.Add([]byte("rule \"r\" {\n validation {\n level = "+level+"\n condition = job.id == \"x\"\n error_message = \"no\"\n}\n}\n"), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(level))
		must.Eq(t, 3, diags[0].Subject.Start.Line)
	}
}

// A rule gives a driver to the proxies of the groups that it matches, without sidecars.
func TestConnect(t *testing.T) {
	p := parse(t, `rule "other" {
  match {
    group = ["other"]
  }
  connect = "pod"
}
rule "mesh" {
  match {
    driver = ["pod"]
  }
  connect = "pod"
}`)
	j, g := aJob()
	orders, diags := p.Orders(j, g)
	must.SliceEmpty(t, orders)
	must.SliceEmpty(t, diags)
	order := p.Proxies(j, g)
	must.Eq(t, "mesh", order.Rule)
	must.Eq(t, "pod", order.Driver)
	must.Eq(t, 11, order.Range.Start.Line)
	g.Tasks = g.Tasks[:1]
	must.Nil(t, p.Proxies(j, g))
}

// If the match of such a rule is undecided, groups with proxies are refused, and no others.
func TestConnect_Undecided(t *testing.T) {
	p := parse(t, "rule \"mesh\" {\n match {\n job = [\"x\"]\n}\n connect = \"pod\"\n}\n")
	j, g := aJob()
	j.ID = job.Text{Unknown: &diagnostic.Unknown{Expr: "var.id", WayOut: "Set it."}}
	_, diags := p.Orders(j, g)
	must.SliceEmpty(t, diags)
	g.Services = []job.Service{{Mesh: &job.Mesh{Kind: "connect-proxy"}}}
	_, diags = p.Orders(j, g)
	must.True(t, diags.HasErrors())
}

func TestConnect_Invalid(t *testing.T) {
	for text, want := range map[string]string{
		`connect = "docker"`:                     `connect must be "pod"`,
		`connect = ""`:                           `connect must be "pod"`,
		`connect = true`:                         `connect must be "pod"`,
		"connect = \"pod\"\nrequired = true":     "required applies to injected sidecars",
		"connect = \"pod\"\non_error = \"skip\"": "on_error applies to injected sidecars",
		"match {\n request {\n client = [\"10.0.0.1\"]\n }\n }\n connect = \"pod\"": "who registers a job",
	} {
		var p Policy
		diags := p.Add([]byte("rule \"r\" {\n"+text+"\n}\n"), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(text))
		must.StrContains(t, diags.Error(), want, must.Sprint(text))
	}
}
