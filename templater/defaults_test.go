package templater_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// defaultTexts are defaults for each field, with a number to vary them.
var defaultTexts = map[string]string{
	"shutdown_delay": "shutdown_delay = \"%ds\"",
	"reschedule":     "reschedule {\n attempts = %d\n interval = \"24h\"\n unlimited = false\n}",
	"update":         "update {\n max_parallel = %d\n auto_revert = true\n}",
	"kill_timeout":   "kill_timeout = \"%ds\"",
	"resources":      "resources {\n cpu = %d\n memory = 64\n}",
	"restart":        "restart {\n attempts = %d\n mode = \"delay\"\n}",
	"constraint":     "constraint {\n attribute = \"${attr.kernel.name}\"\n value = \"linux%d\"\n}\nconstraint {\n attribute = \"${meta.rack}\"\n operator = \"is_set\"\n}",
	"meta":           "meta {\n tier = \"t%d\"\n owner = \"${node.unique.name}\"\n}",
	"logs":           "logs {\n max_files = %d\n}",
	"env":            "env {\n B = \"b%d\"\n D = \"${NOMAD_ALLOC_ID} $${x}\"\n}",
	"vault":          "vault {\n role = \"r%d\"\n}",
}

var defaultNames = []string{"shutdown_delay", "reschedule", "update", "constraint", "meta", "kill_timeout", "resources", "restart", "logs", "env", "vault"}

// defaultsPolicy returns a policy with defaults for fields.
func defaultsPolicy(t must.T, fields []string, number int) templater.Policy {
	text := "rule \"warns\" {\n validation {\n level = \"warn\"\n condition = true\n error_message = \"x\"\n}\n}\n"
	if len(fields) > 0 {
		text += "rule \"base\" {\n default {\n"
		for _, f := range fields {
			text += fmt.Sprintf(defaultTexts[f], number) + "\n"
		}
		text += "}\n}\n"
	}
	return policyOf(t, text)
}

func policyOf(t must.T, text string) *policy.Policy {
	p := &policy.Policy{}
	diags := p.Add([]byte(text), "p.hcl")
	must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, text))
	return p
}

// withDefaults injects by flags and policy.
func withDefaults(t must.T, doc templater.Document, c *sidecar.Catalog, flags templater.Flags, p templater.Policy) []byte {
	flags.Policy = p
	in, diags := templater.Inject(doc, c, flags)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return in.Output
}

func drawFields(t *rapid.T) []string {
	var out []string
	for _, name := range defaultNames {
		if rapid.Bool().Draw(t, "default "+name) {
			out = append(out, name)
		}
	}
	return out
}

// Traps I3 and I22: a second injection changes nothing, and ejecting restores every byte.
func TestDefaults_TwiceAndEject(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src, flags, p := []byte(drawJobWithFields(t)), drawFlags(t), defaultsPolicy(t, drawFields(t), 3)
		once := withDefaults(t, parseHCL(t, src), c, flags, p)
		must.Eq(t, string(once), string(withDefaults(t, parseHCL(t, once), c, flags, p)))
		back, diags := hcljob.Eject(once, "job.hcl")
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, string(src), string(back))

		raw, diags := parseHCL(t, src).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		onceJSON := withDefaults(t, parseJSON(t, raw, c), c, flags, p)
		must.Eq(t, string(onceJSON), string(withDefaults(t, parseJSON(t, onceJSON, c), c, flags, p)))
		back, diags = parseJSON(t, onceJSON, c).Original()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, string(raw), string(back))

		equal(t, nomad(t, once), decode(t, onceJSON))
	})
}

// The fields that the author wrote are the same with and without a policy, and all others of its fields
// have its value.
// Trap I30.
func TestDefaults_AuthorWins(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src, fields := []byte(drawJobWithFields(t)), drawFields(t)
		raw, diags := parseHCL(t, src).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		out := withDefaults(t, parseJSON(t, raw, c), c, templater.Flags{}, defaultsPolicy(t, fields, 3))
		var before, after struct{ Job *api.Job }
		must.NoError(t, json.Unmarshal(raw, &before))
		must.NoError(t, json.Unmarshal(out, &after))
		for i, g := range before.Job.TaskGroups {
			checkGroup(t, before.Job, g, after.Job.TaskGroups[i], fields)
		}
	})
}

func checkGroup(t must.T, j *api.Job, before, after *api.TaskGroup, fields []string) {
	has := map[string]bool{}
	for _, f := range fields {
		has[f] = true
	}
	kind := "service"
	if j.Type != nil {
		kind = *j.Type
	}
	changes := func(name string, written bool, was, is any) {
		if written || !has[name] {
			must.Eq(t, was, is, must.Sprint(name))
			return
		}
		must.NotEq(t, was, is, must.Sprint(name))
	}
	changes("shutdown_delay", before.ShutdownDelay != nil, before.ShutdownDelay, after.ShutdownDelay)
	changes("update", before.Update != nil || j.Update != nil || strings.HasSuffix(kind, "batch"), before.Update, after.Update)
	changes("reschedule", before.ReschedulePolicy != nil || j.Reschedule != nil || strings.HasPrefix(kind, "sys"), before.ReschedulePolicy, after.ReschedulePolicy)
	must.Eq(t, before.RestartPolicy, after.RestartPolicy)
	_, inGroup := before.Meta["tier"]
	_, inJob := j.Meta["tier"]
	changes("meta", inGroup || inJob, before.Meta["tier"], after.Meta["tier"])
	kernel := func(c *api.Constraint) bool {
		return c.LTarget == "${attr.kernel.name}" && (c.Operand == "=" || c.Operand == "is")
	}
	written := slices.ContainsFunc(slices.Concat(j.Constraints, before.Constraints), kernel)
	for _, task := range before.Tasks {
		written = written || slices.ContainsFunc(task.Constraints, kernel)
	}
	is := slices.ContainsFunc(after.Constraints, func(c *api.Constraint) bool { return c.RTarget == "linux3" })
	changes("constraint", written, false, is)
	for i, b := range before.Tasks {
		a := after.Tasks[i]
		changes("kill_timeout", b.KillTimeout != nil, b.KillTimeout, a.KillTimeout)
		changes("resources", b.Resources != nil, b.Resources, a.Resources)
		_, set := b.Env["B"]
		changes("env", set, b.Env["B"], a.Env["B"])
		changes("vault", b.Vault != nil, b.Vault, a.Vault)
		changes("logs", b.LogConfig != nil || b.Config["logs"] != nil, b.LogConfig, a.LogConfig)
		if b.LogConfig == nil && b.Config["logs"] == nil && has["logs"] {
			must.Eq(t, []map[string]any{{"max_files": 3.0, "max_file_size": 10.0}}, logsIn(t, a.Config["logs"]))
		} else {
			must.Eq(t, b.Config["logs"], a.Config["logs"])
		}
		changes("restart", b.RestartPolicy != nil || before.RestartPolicy != nil, b.RestartPolicy, a.RestartPolicy)
	}
}

// logsIn returns the logs setting of a config.
func logsIn(t must.T, setting any) []map[string]any {
	raw, err := json.Marshal(setting)
	must.NoError(t, err)
	var out []map[string]any
	must.NoError(t, json.Unmarshal(raw, &out))
	return out
}

// A job that Nomad has stored, in which every field is set, does not change when it is registered again;
// a changed default changes, and a removed one is removed.
// Trap I15.
func TestDefaults_Stored(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src, fields := []byte(drawJobWithFields(t)), drawFields(t)
		raw, diags := parseHCL(t, src).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		first, second := defaultsPolicy(t, fields, 3), defaultsPolicy(t, fields, 4)
		stored := canonical(t, withDefaults(t, parseJSON(t, raw, c), c, templater.Flags{}, first))

		again := withDefaults(t, parseJSON(t, stored, c), c, templater.Flags{}, first)
		must.Eq(t, string(stored), string(again))
		want := canonical(t, withDefaults(t, parseJSON(t, raw, c), c, templater.Flags{}, second))
		equal(t, decode(t, want), decode(t, canonical(t, withDefaults(t, parseJSON(t, stored, c), c, templater.Flags{}, second))))
		want = canonical(t, withDefaults(t, parseJSON(t, raw, c), c, templater.Flags{}, nil))
		equal(t, decode(t, want), decode(t, canonical(t, withDefaults(t, parseJSON(t, stored, c), c, templater.Flags{}, defaultsPolicy(t, nil, 0)))))
		back, diags := parseJSON(t, stored, c).Original()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		equal(t, decode(t, canonical(t, raw)), decode(t, canonical(t, back)))
	})
}

const bareJob = `{"ID":"j","Type":%q,"TaskGroups":[{"Name":"g","Tasks":[{"Name":"a","Driver":"docker"}]}]}`

// Fields that are absent instead of null, and a list that is empty, come back so.
// Trap I4.
func TestDefaults_Spelling(t *testing.T) {
	c := loadCatalog(t)
	p := defaultsPolicy(t, defaultNames, 3)
	for _, src := range []string{
		fmt.Sprintf(bareJob, "service"),
		"{\n  \"Job\": {\n    \"ID\": \"j\",\n    \"TaskGroups\": [\n      {\n        \"Name\": \"g\",\n        \"Constraints\": [],\n        \"Tasks\": [\n          {\"Name\": \"a\", \"KillTimeout\": null}\n        ]\n      }\n    ]\n  }\n}\n",
		`{"ID":"j","TaskGroups":[{"Name":"g","constraints":[{"LTarget":"a","RTarget":"a","Operand":"="}],"restartpolicy":null,"Tasks":[{"Name":"a","killtimeout":null},{"Name":"b","KillTimeout":0,"Resources":{}}]}]}`,
	} {
		once := withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, p)
		must.NotEq(t, src, string(once))
		must.Eq(t, string(once), string(withDefaults(t, parseJSON(t, once, c), c, templater.Flags{}, p)))
		back, diags := parseJSON(t, once, c).Original()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, src, string(back))
		must.Eq(t, src, string(withDefaults(t, parseJSON(t, once, c), c, templater.Flags{}, defaultsPolicy(t, nil, 0))))
	}
}

// A default that somebody edited in a stored job, also only a part of it that Nomad has filled in, is the author's.
func TestDefaults_Edited(t *testing.T) {
	c := loadCatalog(t)
	for edit, kept := range map[string]bool{
		``:              false,
		`"Attempts":33`: true,
		`"Delay":99000`: true,
		`"Delay":0`:     true,
	} {
		first := withDefaults(t, parseJSON(t, fmt.Appendf(nil, bareJob, "service"), c), c, templater.Flags{}, defaultsPolicy(t, []string{"restart", "kill_timeout"}, 3))
		var request struct{ Job *api.Job }
		must.NoError(t, json.Unmarshal(canonical(t, fmt.Appendf(nil, `{"Job":%s}`, first)), &request))
		must.NoError(t, json.Unmarshal([]byte("{"+edit+"}"), request.Job.TaskGroups[0].Tasks[0].RestartPolicy))
		stored, err := json.Marshal(request)
		must.NoError(t, err)

		out := withDefaults(t, parseJSON(t, stored, c), c, templater.Flags{}, defaultsPolicy(t, []string{"restart", "kill_timeout"}, 4))
		must.Eq(t, kept, bytes.Contains(out, []byte(`"Mode":"delay"`)) && !bytes.Contains(out, []byte(`"Attempts":4`)), must.Sprint(edit))
		must.StrContains(t, string(out), `\"kill_timeout\":{\"value\":4000000000`)
		must.Eq(t, !kept, bytes.Contains(out, []byte(`\"restart\":`)))
		must.StrContains(t, string(out), `"KillTimeout":4000000000`)
	}
}

// No field of a canonical job counts as left out. There is one warning.
func TestDefaults_Canonical(t *testing.T) {
	c := loadCatalog(t)
	src := canonical(t, fmt.Appendf(nil, `{"Job":%s}`, fmt.Sprintf(bareJob, "service")))
	in, diags := templater.Inject(parseJSON(t, src, c), c, templater.Flags{Policy: defaultsPolicy(t, defaultNames, 3)})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Len(t, 1, diags)
	must.Eq(t, "Defaults not set", diags[0].Summary)
	must.StrContains(t, diags[0].Detail, "The policy (base) has defaults for reschedule, update, kill_timeout, resources, restart, logs, but")
	for _, set := range []string{`"ShutdownDelay":3000000000`, `"tier":"t3"`, `"RTarget":"linux3"`, `"B":"b3"`, `"Role":"r3"`} {
		must.StrContains(t, string(in.Output), set) // Nomad fills in nothing there
	}
	must.StrContains(t, string(in.Output), `"KillTimeout":5000000000`)
}

const hclDefaults = `variable "n" {}
job "j" {
  %s
  group "g" {
    %s
    task "a" {
      driver = "docker"
      %s
    }
  }
}
`

// An unknown field is an error. It does not count as left out.
func TestDefaults_Unknown(t *testing.T) {
	c := loadCatalog(t)
	dynamic := func(name string) string {
		return "dynamic \"" + name + "\" {\n for_each = var.n\n content {}\n }\n"
	}
	for _, test := range []struct{ inJob, inGroup, inTask, field, want string }{
		{inTask: dynamic("restart"), field: "restart", want: `Whether task "a" of group "g" has restart, which rule "base" sets by default, depends on`},
		{inGroup: dynamic("restart"), field: "restart", want: `Whether task "a" of group "g" has restart`},
		{inJob: dynamic("update"), field: "update", want: `Whether group "g" has update`},
		{inJob: "type = var.n", field: "update", want: `Whether group "g" can have update`},
		{inJob: "type = var.n", field: "kill_timeout"},
		{inTask: "kill_timeout = var.n", field: "kill_timeout"},
		{inTask: dynamic("restart"), field: "kill_timeout"},
		{inGroup: "dynamic \"task\" {\n for_each = [1, 2]\n labels = [\"t${task.value}\"]\n content {\n driver = \"docker\"\n }\n }\n", field: "kill_timeout", want: "Cannot inject here"},
		{inGroup: "constraint {\n attribute = \"sidecar.defaults\"\n }\n", field: "kill_timeout", want: "Mark of defaults"},
	} {
		src := fmt.Appendf(nil, hclDefaults, test.inJob, test.inGroup, test.inTask)
		_, diags := templater.Inject(parseHCL(t, src), c, templater.Flags{Policy: defaultsPolicy(t, []string{test.field}, 3)})
		if test.want == "" {
			must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, src))
			continue
		}
		must.True(t, diags.HasErrors(), must.Sprint(string(src)))
		must.StrContains(t, diags.Error(), test.want)
	}
}

// Without a policy, renewing the injection of a file would lose its defaults, and is an error. A job in
// JSON keeps them.
func TestDefaults_WithoutPolicy(t *testing.T) {
	c := loadCatalog(t)
	flags := templater.Flags{With: []*job.Request{{Sidecar: "viewer"}}}
	src := fmt.Appendf(nil, hclDefaults, "", "network {\n mode = \"bridge\"\n }\n", "")
	src = bytes.Replace(src, []byte("docker"), []byte("pod"), 1)
	out := withDefaults(t, parseHCL(t, src), c, templater.Flags{}, defaultsPolicy(t, defaultNames, 3))
	must.Eq(t, string(out), string(withDefaults(t, parseHCL(t, out), c, templater.Flags{}, nil))) // nothing is chosen
	_, diags := templater.Inject(parseHCL(t, out), c, flags)
	must.ErrorContains(t, diags, "Defaults would be lost")

	raw, err := json.Marshal(nomad(t, bytes.Replace(out, []byte(`variable "n" {}`), nil, 1)))
	must.NoError(t, err)
	again := withDefaults(t, parseJSON(t, raw, c), c, flags, nil)
	must.StrContains(t, string(again), `"KillTimeout":3000000000`)
	must.StrContains(t, string(again), `\"kill_timeout\"`)
}

// A mark that injection did not write, or two of them, count as the author's constraints.
// Trap I19.
func TestDefaults_ForgedMark(t *testing.T) {
	c := loadCatalog(t)
	for _, mark := range []string{
		``, `x`, `{"set":{"env":{"value":{}}}}`, `{"set":{"kill_timeout":{"value":1}}}`, `{"set":{"update":{"value":1,"tasks":["a"]}}}`, `{"set":{"update":null}}`, `{"set":{"env A":{"value":"x"}}}`, `{"set":{"update A":{"value":{}}}}`, `{"set":{},"more":1}`, `{"set":{}} {}`,
	} {
		text, err := json.Marshal(mark)
		must.NoError(t, err)
		src := strings.Replace(fmt.Sprintf(bareJob, "service"), `"Tasks"`, `"Constraints":[{"LTarget":"sidecar.defaults","Operand":"!=","RTarget":`+string(text)+`}],"Tasks"`, 1)
		f := parseJSON(t, []byte(src), c)
		must.SliceEmpty(t, f.Defaulted(), must.Sprint(mark))
		_, diags := templater.Inject(f, c, templater.Flags{Policy: defaultsPolicy(t, []string{"kill_timeout"}, 3)})
		must.ErrorContains(t, diags, "Mark of defaults")
		back, diags := f.Original()
		must.False(t, diags.HasErrors())
		must.Eq(t, src, string(back))
	}
	// A mark in the right form only says that its author left a field out, unless the value differs.
	for value, want := range map[string]string{"7": "3000000000", "8": "7"} {
		src := strings.Replace(fmt.Sprintf(bareJob, "service"), `"Driver"`, `"KillTimeout":7,"Driver"`, 1)
		src = strings.Replace(src, `"Tasks"`, `"Constraints":[{"LTarget":"sidecar.defaults","Operand":"!=","RTarget":"{\"set\":{\"kill_timeout\":{\"value\":`+value+`,\"tasks\":[\"a\"]}}}"}],"Tasks"`, 1)
		out := withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, defaultsPolicy(t, []string{"kill_timeout"}, 3))
		must.StrContains(t, string(out), `"KillTimeout":`+want)
	}
}

// Of several rules the last one counts, with its whole block.
func TestDefaults_SeveralRules(t *testing.T) {
	c := loadCatalog(t)
	p := policyOf(t, `rule "a" {
  default {
    kill_timeout = "1s"
    restart {
      attempts = 1
      delay    = "1s"
    }
  }
}
rule "b" {
  match {
    group = ["g"]
  }
  default {
    restart {
      attempts = 2
    }
  }
}
rule "c" {
  match {
    group = ["other"]
  }
  default {
    kill_timeout = "3s"
  }
}
`)
	in, diags := templater.Inject(parseJSON(t, fmt.Appendf(nil, bareJob, "sysbatch"), c), c, templater.Flags{Policy: p})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.StrContains(t, string(in.Output), `"RestartPolicy":{"Interval":null,"Attempts":2,"Delay":null,`)
	must.StrContains(t, string(in.Output), `"KillTimeout":1000000000`)
	must.Len(t, 2, in.Defaults)
	must.Eq(t, "b", in.Defaults[1].Default.Rule)
}

// Of a stored job's update block Nomad keeps an older form at the job, from which it would complete the
// block of a group to one that it refuses. So the group gets Nomad's own block back.
func TestDefaults_StoredUpdate(t *testing.T) {
	c := loadCatalog(t)
	raw := fmt.Appendf(nil, `{"Job":%s}`, fmt.Sprintf(bareJob, "service"))
	var want, got struct{ Job *api.Job }
	must.NoError(t, json.Unmarshal(canonical(t, raw), &want))
	stored := canonical(t, withDefaults(t, parseJSON(t, raw, c), c, templater.Flags{}, defaultsPolicy(t, []string{"update"}, 3)))
	must.NoError(t, json.Unmarshal(stored, &got))
	*got.Job.Update.HealthCheck, *got.Job.Update.HealthyDeadline = "", 0
	stored, err := json.Marshal(got)
	must.NoError(t, err)
	back, diags := parseJSON(t, stored, c).Original()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.NoError(t, json.Unmarshal(back, &got))
	must.Eq(t, want.Job.TaskGroups[0].Update, got.Job.TaskGroups[0].Update)
}

// A rule that is skipped, because its sidecar cannot be injected, sets no defaults either.
func TestDefaults_SkippedRule(t *testing.T) {
	c := loadCatalog(t)
	p := policyOf(t, "rule \"r\" {\n inject \"viewer\" {}\n on_error = \"skip\"\n default {\n kill_timeout = \"3s\"\n }\n}\n")
	in, diags := templater.Inject(parseJSON(t, fmt.Appendf(nil, bareJob, "service"), c), c, templater.Flags{Policy: p})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.StrContains(t, diags.Error(), "Rule skipped")
	must.Eq(t, fmt.Sprintf(bareJob, "service"), string(in.Output))
}

// Defaults removed by a policy are reported.
func TestDefaults_Removed(t *testing.T) {
	c := loadCatalog(t)
	once := withDefaults(t, parseJSON(t, fmt.Appendf(nil, bareJob, "service"), c), c, templater.Flags{}, defaultsPolicy(t, defaultNames, 3))
	in, diags := templater.Inject(parseJSON(t, once, c), c, templater.Flags{Policy: defaultsPolicy(t, nil, 0)})
	must.Len(t, 1, diags)
	must.Eq(t, hcl.DiagWarning, diags[0].Severity)
	must.StrContains(t, diags[0].Detail, `Group "g" had defaults`)
	must.Eq(t, fmt.Sprintf(bareJob, "service"), string(in.Output))
}

// Large groups take time in proportion to their size, and what a policy adds to them is bounded.
func TestDefaults_Large(t *testing.T) {
	c := loadCatalog(t)
	large := func(tasks int) *jsonjob.File {
		var list []string
		for i := range tasks {
			list = append(list, fmt.Sprintf(`{"Name":"%d"}`, i))
		}
		return parseJSON(t, []byte(`{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[`+strings.Join(list, ",")+`]}]}`), c)
	}
	p := defaultsPolicy(t, []string{"restart", "kill_timeout"}, 3)
	once := withDefaults(t, large(5_000), c, templater.Flags{}, p)
	must.Eq(t, len(once), len(withDefaults(t, parseJSON(t, once, c), c, templater.Flags{}, p)))
	p = defaultsPolicy(t, []string{"restart", "kill_timeout", "resources"}, 3)
	_, diags := templater.Inject(large(80_000), c, templater.Flags{Policy: p})
	must.ErrorContains(t, diags, "Injected job too large")
}
