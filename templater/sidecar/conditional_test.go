package sidecar

import (
	"testing"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
)

const conditional = `
version = "1.0.0"
parameter "on" { type = bool }
parameter "files" {
  type    = map(string)
  default = { b = "two", a = "one" }
}
locals {
  last  = "${local.first}!"
  first = upper(param.files["a"])
}
locals {
  where = "${NOMAD_TASK_DIR}/${group.name}"
}
api {
  port "metrics" {
    to      = 9000
    enabled = param.on
  }
  env "METRICS" {
    value   = "yes"
    enabled = param.on
  }
}
task "x" {
  env {
    enabled = "always"
    LAST    = local.last
  }
  config {
    enabled = false
    ready {
      enabled = false
    }
    dynamic "mount" {
      for_each = ["/a", "/b"]
      iterator = it
      content {
        enabled = false
        target  = it.value
      }
    }
  }
  dynamic "template" {
    for_each = param.files
    content {
      destination = "${local.where}/${template.key}"
      data        = template.value
      dynamic "wait" {
        for_each = template.key == "a" ? [template.value] : []
        content {
          min = wait.value
          max = template.key
        }
      }
    }
  }
  artifact {
    enabled = param.on
    source  = "x"
  }
}
task "extra" {
  enabled = param.on
}
service {
  enabled = param.on
  name    = "x"
}
volume "v" {
  enabled = !param.on
}
app {
  enabled = param.on
  dynamic "volume_mount" {
    for_each = [1, 2]
    content {
      enabled = volume_mount.value == 2
      volume  = "v${volume_mount.value}"
    }
  }
}
`

func evaluated(t *testing.T, on bool) *Instance {
	t.Helper()
	d := parse(t, conditional)
	values, diags := d.Bind(map[string]Argument{"on": {Value: cty.BoolVal(on)}}, d.Range)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	inst, diags := d.Evaluate(Scope{GroupName: "g"}, values)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return inst
}

func TestWhatIsDisabledIsNotThere(t *testing.T) {
	inst := evaluated(t, false)
	must.Len(t, 0, inst.Ports)
	must.Len(t, 0, inst.Env)
	must.Len(t, 0, inst.Services)
	must.Len(t, 0, inst.App)
	must.Len(t, 1, inst.Tasks)
	must.Len(t, 1, inst.Volumes)
	must.Len(t, 0, inst.Tasks[0].Body.Blocks("artifact"))

	inst = evaluated(t, true)
	must.Len(t, 1, inst.Ports)
	must.Len(t, 1, inst.Env)
	must.Len(t, 2, inst.Tasks)
	must.Len(t, 0, inst.Volumes)
	must.Eq(t, "service {\n  name = \"x\"\n}\n", inst.Services[0].HCL(Style{}))
	must.Eq(t, "artifact {\n  source = \"x\"\n}\n", inst.Tasks[0].Body.Blocks("artifact")[0].HCL(Style{}))
	must.Len(t, 1, inst.App)
	must.Eq(t, "v2", inst.App[0].Body.String("volume"))
}

func TestEnabledOfOthersIsTheirs(t *testing.T) {
	body := evaluated(t, false).Tasks[0].Body
	must.Eq(t, "always", body.Blocks("env")[0].Body.String("enabled"))
	config := body.Blocks("config")[0].Body
	must.NotNil(t, config.Attr("enabled"))
	must.NotNil(t, config.Blocks("ready")[0].Body.Attr("enabled"))
	must.Len(t, 2, config.Blocks("mount"))
	must.NotNil(t, config.Blocks("mount")[1].Body.Attr("enabled"))
}

func TestDynamicBlocksAndLocals(t *testing.T) {
	body := evaluated(t, false).Tasks[0].Body
	must.Eq(t, "ONE!", body.Blocks("env")[0].Body.String("LAST"))
	templates := body.Blocks("template")
	must.Len(t, 2, templates)
	must.Eq(t, "${NOMAD_TASK_DIR}/g/a", templates[0].Body.String("destination"))
	must.Eq(t, "two", templates[1].Body.String("data"))
	must.Eq(t, "one", templates[0].Body.Blocks("wait")[0].Body.String("min"))
	must.Len(t, 0, templates[1].Body.Blocks("wait"))
}

func TestConditionsMustBeKnown(t *testing.T) {
	for body, summary := range map[string]string{
		"task \"x\" {\n enabled = \"maybe\"\n}":                                              "Invalid condition",
		"task \"x\" {\n enabled = group.count > 1\n}":                                        "Invalid condition",
		"task \"x\" {\n dynamic \"env\" {\n for_each = 3\n content {}\n }\n}":                "Invalid for_each",
		"task \"x\" {\n dynamic \"env\" {\n for_each = [1]\n labels = 1\n content {}\n }\n}": "Invalid labels",
	} {
		d := parse(t, "version = \"1.0.0\"\n"+body)
		_, diags := d.Evaluate(Scope{}, nil)
		must.Len(t, 1, diags, must.Sprint(body))
		must.Eq(t, summary, diags[0].Summary)
		must.NotNil(t, diags[0].Subject)
	}
}
