package templater_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// setIn returns the names of the defaults that are set in a job, and those that are not.
func setIn(t *testing.T, doc templater.Document, p templater.Policy) (set, written []string) {
	t.Helper()
	in, diags := templater.Inject(doc, loadCatalog(t), templater.Flags{Policy: p})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	for _, s := range in.Defaults {
		if s.State == templater.DefaultSet {
			set = append(set, s.Default.Name())
		} else {
			written = append(written, s.Default.Name())
		}
	}
	return set, written
}

// What the author wrote counts as written in each place and form: an empty value, a vault block that
// tasks inherit, an identity for Vault, another spelling of an operator.
func TestDefaults_WrittenKeys(t *testing.T) {
	c := loadCatalog(t)
	for _, test := range []struct{ inJob, inGroup, inTask, field, want string }{
		{field: "vault"},
		{inJob: "vault {}", field: "vault", want: "vault"},
		{inGroup: "vault { role = \"x\" }", field: "vault", want: "vault"},
		{inTask: "vault {}", field: "vault", want: "vault"},
		{inTask: "identity {\n name = \"vault_default\"\n aud = [\"v\"]\n}", field: "vault", want: "vault"},
		{inTask: "identity { env = true }", field: "vault"},
		{inTask: "env { B = \"\" }", field: "env", want: "env B"},
		{inTask: "env = { \"B\" = \"\" }", field: "env", want: "env B"},
		{inGroup: "meta { tier = \"\" }", field: "meta", want: "meta tier"},
		{inJob: "meta = { tier = \"\" }", field: "meta", want: "meta tier"},
		{inTask: "meta { tier = \"x\" }", field: "meta"}, // of the task only
		{inTask: "logs {}", field: "logs", want: "logs"},
		{inJob: "constraint {\n attribute = \"${attr.kernel.name}\"\n value = \"x\"\n}", field: "constraint", want: "constraint ${attr.kernel.name} ="},
		{inGroup: "constraint {\n attribute = \"${attr.kernel.name}\"\n operator = \"==\"\n}", field: "constraint", want: "constraint ${attr.kernel.name} ="},
		{inTask: "constraint {\n attribute = \"${attr.kernel.name}\"\n operator = \"is\"\n}", field: "constraint", want: "constraint ${attr.kernel.name} ="},
		{inGroup: "constraint {\n attribute = \"${attr.kernel.name}\"\n regexp = \"l\"\n}", field: "constraint"},
		{inGroup: "constraint {\n attribute = \"${attr.kernel.arch}\"\n}", field: "constraint"},
		{inGroup: "constraint {\n distinct_hosts = true\n}", field: "constraint"},
	} {
		src := strings.Replace(fmt.Sprintf(hclDefaults, test.inJob, test.inGroup, test.inTask), `variable "n" {}`, "", 1)
		p := defaultsPolicy(t, []string{test.field}, 3)
		_, written := setIn(t, parseHCL(t, []byte(src)), p)
		must.Eq(t, test.want, strings.Join(written, ", "), must.Sprint(src))
		raw, diags := parseHCL(t, []byte(src)).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		_, written = setIn(t, parseJSON(t, canonical(t, raw), c), p)
		if test.field != "logs" {
			must.Eq(t, test.want, strings.Join(written, ", "), must.Sprintf("as JSON: %s", src))
		}
	}
}

// A key whose presence is unknown is an error, unless the key itself is known.
func TestDefaults_UnknownKeys(t *testing.T) {
	c := loadCatalog(t)
	for _, test := range []struct{ inJob, inGroup, inTask, field, want string }{
		{inTask: "env = var.n", field: "env", want: `Whether task "a" of group "g" has env B, which rule "base" sets by default, depends on var.n`},
		{inTask: "env = merge({ B = \"x\", D = \"y\" }, var.n)", field: "env"},
		{inTask: "env { B = var.n }", field: "env"},
		{inJob: "meta = var.n", field: "meta", want: "depends on var.n"},
		{inGroup: "meta = { for k in [var.n] : k => k }", field: "meta", want: "depends on var.n"},
		{inJob: "constraint {\n attribute = var.n\n}", field: "constraint", want: `Whether group "g" has constraint ${attr.kernel.name} =, which`},
		{inGroup: "constraint {\n attribute = \"${attr.kernel.name}\"\n operator = var.n\n}", field: "constraint", want: `Whether group "g" has constraint ${attr.kernel.name} =`},
		{inGroup: "constraint {\n attribute = \"${attr.x}\"\n operator = var.n\n}", field: "constraint"},
		{inTask: "dynamic \"constraint\" {\n for_each = var.n\n content {}\n }\n", field: "constraint", want: `Whether group "g" has constraint`},
		{inTask: "dynamic \"vault\" {\n for_each = var.n\n content {}\n }\n", field: "vault", want: `Whether task "a" of group "g" has vault`},
		{inTask: "identity { name = var.n }", field: "vault", want: `Whether task "a" of group "g" has vault`},
		{inGroup: "ephemeral_disk { size = var.n }", field: "logs", want: `Whether the disk of task "a" of group "g" has room for logs`},
		{inTask: "config { logs = var.n }", field: "logs"},
		{inTask: "dynamic \"config\" {\n for_each = var.n\n content {}\n }\n", field: "logs", want: `Whether the config of task "a" of group "g" repeats logs`},
	} {
		src := strings.Replace(fmt.Sprintf(hclDefaults, test.inJob, test.inGroup, test.inTask), "docker", "pod", 1)
		_, diags := templater.Inject(parseHCL(t, []byte(src)), c, templater.Flags{Policy: defaultsPolicy(t, []string{test.field}, 3)})
		if test.want == "" {
			must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, src))
			continue
		}
		must.True(t, diags.HasErrors(), must.Sprint(src))
		must.StrContains(t, diags.Error(), test.want)
	}
}

const podJob = `{"Job":{"ID":"j","Version":1,"TaskGroups":[{"Name":"g","Tasks":[{"Name":"a","Driver":"pod","Config":{"image":"x"}}]}]}}`

// One edited value of several is the author's from then on; the others follow the policy.
func TestDefaults_EditedKeys(t *testing.T) {
	c, fields := loadCatalog(t), []string{"constraint", "meta", "env", "logs", "vault"}
	for edit, kept := range map[string]string{
		`"B":"b3"|"B":"mine"`:         `"B":"mine"`,
		`"tier":"t3"|"tier":"mine"`:   `"tier":"mine"`,
		`"linux3"|"mine"`:             `"mine"`,
		`"max_files":3|"max_files":7`: `"max_files":7`,
		`"MaxFiles":3|"MaxFiles":7`:   `"MaxFiles":7`,
		`"Role":"r3"|"Role":"mine"`:   `"Role":"mine"`,
	} {
		first := withDefaults(t, parseJSON(t, []byte(podJob), c), c, templater.Flags{}, defaultsPolicy(t, fields, 3))
		from, to, _ := strings.Cut(edit, "|")
		must.StrContains(t, string(first), from)
		edited := strings.Replace(string(first), from, to, 1)
		out := string(withDefaults(t, parseJSON(t, []byte(edited), c), c, templater.Flags{}, defaultsPolicy(t, fields, 4)))
		must.StrContains(t, out, kept)
		changed := 0
		for _, value := range []string{`"B":"b4"`, `"tier":"t4"`, `"linux4"`, `"MaxFiles":4`, `"Role":"r4"`} {
			changed += strings.Count(out, value)
		}
		must.Eq(t, 4, changed, must.Sprint(out))
		without := string(withDefaults(t, parseJSON(t, []byte(edited), c), c, templater.Flags{}, defaultsPolicy(t, nil, 0)))
		must.StrContains(t, without, kept)
	}
}

// Logs are repeated in the config of pod tasks, where the driver reads them, and follow the driver.
func TestDefaults_PodLogs(t *testing.T) {
	c, p := loadCatalog(t), defaultsPolicy(t, []string{"logs"}, 3)
	const repeated = `"logs":[{"max_file_size":10,"max_files":3}]`
	once := withDefaults(t, parseJSON(t, []byte(podJob), c), c, templater.Flags{}, p)
	must.StrContains(t, string(once), repeated)
	docker := strings.Replace(string(once), `"pod"`, `"docker"`, 1)
	out := withDefaults(t, parseJSON(t, []byte(docker), c), c, templater.Flags{}, p)
	must.StrNotContains(t, string(out), repeated)
	must.StrContains(t, string(out), `"MaxFiles":3`)
	podAgain := strings.Replace(string(out), `"docker"`, `"pod"`, 1)
	must.StrContains(t, string(withDefaults(t, parseJSON(t, []byte(podAgain), c), c, templater.Flags{}, p)), repeated)

	p = policyOf(t, "rule \"base\" {\n default {\n logs {\n max_files = 10\n max_file_size = 30\n}\n}\n}\n")
	_, diags := templater.Inject(parseJSON(t, []byte(podJob), c), c, templater.Flags{Policy: p})
	must.StrContains(t, diags.Error(), `Too little disk; By default of rule "base" the logs of task "a" of group "g" may need 300 MB, but the ephemeral disk of the group has 300 MB. Set ephemeral_disk { size = 600 }`)
}

// A sidecar that sets a variable to another value than a default is refused, and one that sets the same
// leaves it to the default. Neither is repeated, and no value is shown.
func TestDefaults_BesideSidecars(t *testing.T) {
	c := loadCatalog(t)
	flags, src := with("anywhere"), strings.Replace(podJob, `"Version":1,`, "", 1)
	const name, value = "ANYWHERE_SIDECAR", "g: a"
	for set, want := range map[string]string{"hush": "Environment variable taken", value: ""} {
		flags.Policy = policyOf(t, fmt.Sprintf("rule \"base\" {\n default {\n env {\n %s = %q\n}\n}\n}\n", name, set))
		in, diags := templater.Inject(parseJSON(t, []byte(src), c), c, flags)
		if want != "" {
			must.ErrorContains(t, diags, want)
			must.ErrorContains(t, diags, `the default of rule "base"`)
			set := withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, flags.Policy)
			_, later := templater.Inject(parseJSON(t, set, c), c, with("anywhere"))
			must.ErrorContains(t, later, "a default of an earlier policy")
			diags = append(diags, later...)
			must.StrNotContains(t, diags.Error(), "hush")
			continue
		}
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, string(in.Output), string(withDefaults(t, parseJSON(t, in.Output, c), c, templater.Flags{With: flags.With}, flags.Policy)))
		must.Eq(t, 1, strings.Count(string(in.Output), `"ANYWHERE_SIDECAR":"g: a"`))
		without := policyOf(t, "rule \"warns\" {\n validation {\n level = \"warn\"\n condition = true\n error_message = \"x\"\n}\n}\n")
		must.Eq(t, string(inject(t, parseJSON(t, []byte(src), c), c, with("anywhere"))), string(withDefaults(t, parseJSON(t, in.Output, c), c, with("anywhere"), without)))
	}
}

// Nomad adds constraints and an identity for a vault block. They go with it, but not those that the
// author wrote or that another task needs.
func TestDefaults_ImpliedByVault(t *testing.T) {
	c, p := loadCatalog(t), defaultsPolicy(t, []string{"vault"}, 3)
	const own = `{"LTarget":"${attr.vault.version}","RTarget":">= 0.6.1","Operand":"semver"}`
	src := strings.Replace(podJob, `"Tasks"`, `"Constraints":[`+own+`],"Tasks"`, 1)
	stored := string(withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, p))
	const added = `,{"LTarget":"${attr.vault.version}","RTarget":">= 0.6.1","Operand":"semver"},{"LTarget":"${attr.nomad.version}","RTarget":">= 1.7.0-a","Operand":"semver"},{"LTarget":"${attr.consul.version}","RTarget":">= 1.8.0","Operand":"semver"}`
	stored = strings.Replace(stored, `"Operand":"!="}`, `"Operand":"!="}`+added, 1)
	stored = strings.Replace(stored, `"Name":"a"`, `"Name":"a","Identities":[{"Name":"vault_default","Audience":["vault.io"]}]`, 1)
	must.Eq(t, stored, string(withDefaults(t, parseJSON(t, []byte(stored), c), c, templater.Flags{}, p)))

	back, diags := parseJSON(t, []byte(stored), c).Original()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	var got struct{ Job *api.Job }
	must.NoError(t, json.Unmarshal(back, &got))
	g := got.Job.TaskGroups[0]
	must.Nil(t, g.Tasks[0].Vault)
	must.SliceEmpty(t, g.Tasks[0].Identities)
	must.Len(t, 2, g.Constraints)
	must.Eq(t, "${attr.vault.version}", g.Constraints[0].LTarget)
	must.Eq(t, "${attr.consul.version}", g.Constraints[1].LTarget)
}

// A client's mark can name any number of keys. It costs time in proportion to its size.
func TestDefaults_HostileKeys(t *testing.T) {
	c := loadCatalog(t)
	var set, env, constraints []string
	seal := job.Seal(`"x"`)
	for i := range 20_000 {
		set = append(set, fmt.Sprintf(`"env K%d":{"value":%q,"tasks":["a"]}`, i, seal))
		env = append(env, fmt.Sprintf(`"K%d":"x"`, i))
		constraint := fmt.Sprintf(`{"LTarget":"a%d","RTarget":"","Operand":"="}`, i)
		constraints = append(constraints, constraint)
		set = append(set, fmt.Sprintf(`"constraint a%d =":{"value":%s}`, i, job.RecordedKey([]byte(constraint))))
	}
	mark, err := json.Marshal(`{"set":{` + strings.Join(set, ",") + `}}`)
	must.NoError(t, err)
	constraints = append(constraints, `{"LTarget":"sidecar.defaults","Operand":"!=","RTarget":`+string(mark)+`}`)
	src := fmt.Sprintf(`{"ID":"j","TaskGroups":[{"Name":"g","Constraints":[%s],"Tasks":[{"Name":"a","Env":{%s}}]}]}`, strings.Join(constraints, ","), strings.Join(env, ","))
	begin := time.Now()
	out := withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, defaultsPolicy(t, []string{"env", "constraint"}, 3))
	must.Less(t, 30*time.Second, time.Since(begin)) // it takes about one second; quadratic time takes minutes
	must.StrNotContains(t, string(out), `"K7"`)
	must.StrNotContains(t, string(out), `"a7"`)
	must.StrContains(t, string(out), `"B":"b3"`)
}

// Of two rules each adds its own keys, and the last one counts for a key of both. What the author wrote
// twice is unchanged.
func TestDefaults_KeysOfSeveralRules(t *testing.T) {
	c := loadCatalog(t)
	p := policyOf(t, `rule "a" {
  default {
    env {
      A = "a"
      C = "a"
    }
    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }
  }
}
rule "b" {
  default {
    env {
      B = "b"
      C = "b"
    }
    constraint {
      attribute = "${attr.cpu.arch}"
      value     = "amd64"
    }
  }
}
`)
	const twice = `"Env":{"D":"1","D":"2"},"Constraints":[{"LTarget":"x","RTarget":"1","Operand":"="},{"LTarget":"x","RTarget":"1","Operand":"="}]`
	src := strings.Replace(fmt.Sprintf(bareJob, "service"), `"Driver"`, twice+`,"Driver"`, 1)
	once := withDefaults(t, parseJSON(t, []byte(src), c), c, templater.Flags{}, p)
	must.StrContains(t, string(once), `"Env":{"D":"1","D":"2","A":"a","B":"b","C":"b"}`)
	must.StrContains(t, string(once), twice[strings.Index(twice, `"Constraints"`):])
	must.StrContains(t, string(once), `"Constraints":[{"LTarget":"${attr.cpu.arch}","RTarget":"amd64","Operand":"="},{"LTarget":"${attr.kernel.name}","RTarget":"linux","Operand":"="},{"LTarget":"sidecar.defaults"`)
	must.Eq(t, string(once), string(withDefaults(t, parseJSON(t, once, c), c, templater.Flags{}, p)))
	back, diags := parseJSON(t, once, c).Original()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, src, string(back))
}

// A sidecar that sets other logs in the config of the app than a default is refused.
func TestDefaults_LogsOfSidecar(t *testing.T) {
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"s.sidecar.hcl": {Data: []byte("sidecar \"quiet\" {\n version = \"1.0.0\"\n task \"quiet\" {\n driver = \"pod\"\n}\n app {\n config {\n logs = { max_files = 2, max_file_size = 2 }\n}\n}\n}\n")}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	flags := with("quiet")
	withDefaults(t, parseJSON(t, []byte(podJob), c), c, flags, defaultsPolicy(t, []string{"kill_timeout"}, 3))
	flags.Policy = defaultsPolicy(t, []string{"logs"}, 3)
	_, diags = templater.Inject(parseJSON(t, []byte(podJob), c), c, flags)
	must.ErrorContains(t, diags, "Config conflict")

	// Without the policy, the job keeps its default.
	flags.With, flags.Policy = nil, defaultsPolicy(t, []string{"logs"}, 3)
	once := withDefaults(t, parseJSON(t, []byte(podJob), c), c, flags, flags.Policy)
	_, diags = templater.Inject(parseJSON(t, once, c), c, with("quiet"))
	must.ErrorContains(t, diags, "Config conflict")
}
