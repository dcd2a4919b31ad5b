package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

func TestDefault_Errors(t *testing.T) {
	const names = "constraint, env, kill_timeout, logs, meta, reschedule, resources, restart, shutdown_delay, update and vault"
	for text, want := range map[string]string{
		``:                                "p.hcl:2,2-9: Empty default block; Set one of " + names,
		"kill_timeot = \"5s\"":            `p.hcl:3,1-12: Unsupported argument; An argument named "kill_timeot" is not expected here. Did you mean "kill_timeout"? A policy has defaults for ` + names + ".",
		"services {\n}":                   `p.hcl:3,1-9: Unsupported block type; Blocks of type "services" are not expected here. A policy has defaults for ` + names + ".",
		"logs {\n}":                       "p.hcl:3,1-5: Empty default; This logs block sets nothing. Set one of max_files, max_file_size, disabled, or remove it.",
		"logs {\n enabled = true\n}":      `p.hcl:4,2-9: Unsupported argument; An argument named "enabled" is not expected here.`,
		"vault {\n env = \"x\"\n}":        "p.hcl:4,8-11: Invalid default; Nomad cannot read this value for vault:",
		"env {\n}":                        "p.hcl:3,1-4: Empty default; This env block sets nothing. Write name = value in it, or remove it.",
		"env = {}":                        `p.hcl:3,1-4: Unsupported argument; An argument named "env" is not expected here. Did you mean to define a block of type "env"?`,
		"env {\n A = [1]\n}":              "p.hcl:4,6-9: Invalid default; The value of A in env is not a string. Write a string.",
		"env {\n A = null\n}":             "p.hcl:4,6-10: Default without a value",
		"env {\n A = job.id\n}":           "p.hcl:4,6-12: Default is not constant",
		"env {\n A = \"${attr.x[0]}\"\n}": "p.hcl:4,9-18: Invalid reference",
		"env {\n A = \"" + strings.Repeat("x", 1030) + "\"\n}":      "p.hcl:4,2-1038: Default too large; The value for env has 1033 bytes in JSON, and the limit is 1024.",
		"env {\n" + repeated("A%d = 1\n", 101) + "}":                "p.hcl:3,1-4: Too many defaults; A rule has defaults for at most 100 values of env.",
		"env {\n A = 1\n}\nenv {\n B = 1\n}":                        "p.hcl:6,1-4: Duplicate default; This rule already sets env at p.hcl:4,2-7. Merge the two blocks.",
		"meta {\n A {\n }\n}":                                       "p.hcl:4,2-3: Unexpected \"A\" block",
		"constraint {\n}":                                           "p.hcl:3,1-11: Empty default",
		"constraint {\n value = \"x\"\n}":                           "p.hcl:3,1-11: Invalid default; A constraint needs an attribute, such as",
		"constraint {\n attribute = \"a\"\n operator = \"like\"\n}": `p.hcl:3,1-11: Invalid default; Nomad has no operator "like". It has =, !=,`,
		"constraint {\n attribute = \"sidecar.defaults\"\n}":        `p.hcl:3,1-11: Invalid default; The attribute "sidecar.defaults" marks defaults.`,
		"constraint {\n attribute = \"a\"\n}\nconstraint {\n attribute = \"a\"\n operator = \"is\"\n}": `p.hcl:6,1-11: Duplicate default; This rule already has a constraint with the attribute "a" and the operator "=" at p.hcl:3,1-11.`,
		repeated("constraint {\n attribute = \"a%d\"\n}\n", 101):                                       "p.hcl:303,1-11: Too many defaults; A rule has defaults for at most 100 values of constraint.",
		"restart {\n}":             "p.hcl:3,1-8: Empty default; This restart block sets nothing. Set one of interval, attempts, delay, mode, render_templates, or remove it.",
		"restart {\n tries = 1\n}": `p.hcl:4,2-7: Unsupported argument; An argument named "tries" is not expected here. A default for restart has interval, attempts, delay, mode, render_templates.`,
		"restart {\n delay = \"5s\"\n attempts = \"x\"\n}":                   "p.hcl:5,13-16: Invalid default; Nomad cannot read this value for restart:",
		"kill_timeout = \"soon\"":                                            "p.hcl:3,16-22: Invalid default; Nomad cannot read this value for kill_timeout:",
		"kill_timeout = null":                                                "p.hcl:3,16-20: Default without a value",
		"kill_timeout = group.meta.t":                                        "p.hcl:3,16-28: Default is not constant",
		"kill_timeout = uuidv4()":                                            "p.hcl:3,16-22: Unknown function",
		"kill_timeout = parseint(\"x\", 10)":                                 "p.hcl:3,26-27: Invalid function argument",
		"resources {\n disk = 1\n}":                                          `p.hcl:4,2-6: Unsupported argument; An argument named "disk" is not expected here. A default for resources has cpu, cores, memory, memory_max.`,
		"update {\n max_parallel = 1\n}\nupdate {\n max_parallel = 2\n}":     "p.hcl:6,1-7: Duplicate default; This rule already sets update at p.hcl:3,1-7. Merge the two blocks.",
		"update {\n health_check = \"" + strings.Repeat("x", 1100) + "\"\n}": "p.hcl:3,1-7: Default too large; The value for update has 1118 bytes in JSON, and the limit is 1024.",
		"kill_timeout = \"5s\"\n}\ndefault {\n":                              "p.hcl:5,1-8: Duplicate default block; This rule already has a default block at p.hcl:2,2-9.",
		"kill_timeout = \"5s\"\n}\nrequired = true\nmatch {\n":               "p.hcl:5,1-9: Setting without effect",
		"kill_timeout = \"5s\"\n}\nmatch {\nrequest {\nroles = [\"x\"]\n}\n": "p.hcl:1,1-9: Injection by requester; Only rules without inject blocks, default blocks and connect",
	} {
		p := &Policy{}
		diags := p.Add([]byte("rule \"r\" {\n default {\n"+text+"\n}\n}\n"), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(text))
		must.True(t, strings.HasPrefix(diags[0].Error(), want), must.Sprintf("%s\n%s", text, diags[0].Error()))
	}
}

func repeated(format string, times int) string {
	var out strings.Builder
	for i := range times {
		fmt.Fprintf(&out, format, i)
	}
	return out.String()
}

func TestDefault_Values(t *testing.T) {
	p := parse(t, `rule "a" {
  default {
    kill_timeout = format("%ds", 10)
    resources {
      memory = 64
      cores  = 1
    }
  }
}
rule "keys" {
  default {
    constraint {
      attribute = "${attr.kernel.name}"
      operator  = "is"
      value     = "linux"
    }
    env {
      N = 1
      A = "${NOMAD_ALLOC_ID}"
    }
    vault {
      role = "app"
    }
  }
}
rule "b" {
  match {
    type = ["batch"]
  }
  default {
    shutdown_delay = "1s"
  }
}
rule "c" {
  match {
    group = ["web"]
  }
  default {
    kill_timeout = "20s"
  }
}
`)
	j, g := aJob()
	var got []string
	for _, d := range p.Defaults(j, g) {
		value := d.Recorded()
		if d.Field.Keyed {
			value = d.JSON
		}
		got = append(got, d.Rule+" "+d.Name()+" "+string(value))
	}
	must.Eq(t, []string{`a resources {"Cores":1,"MemoryMB":64}`, "a kill_timeout 10000000000",
		`keys constraint ${attr.kernel.name} = {"LTarget":"${attr.kernel.name}","RTarget":"linux","Operand":"is"}`,
		`keys env A "${NOMAD_ALLOC_ID}"`, `keys env N "1"`, `keys vault {"ChangeMode":"restart","DisableFile":false,"Env":true,"Role":"app"}`,
		"c kill_timeout 20000000000"}, got)
}

// A rule with defaults changes jobs: whether it matches must be known, as for one that injects.
func TestDefault_UndecidedMatch(t *testing.T) {
	p := parse(t, "rule \"r\" {\n match {\n group = [\"x\"]\n node_pool = [\"x\"]\n }\n default {\n kill_timeout = \"5s\"\n }\n}\n")
	j, g := aJob()
	g.Name = "x"
	j.NodePool = job.Text{Unknown: &diagnostic.Unknown{Expr: "var.pool", WayOut: "Set it."}}
	_, diags := p.Orders(j, g)
	must.True(t, diags.HasErrors())
	must.SliceEmpty(t, p.Defaults(j, g))
	must.Eq(t, hcl.DiagError, diags[0].Severity)
}
