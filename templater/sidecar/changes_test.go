package sidecar

import (
	"testing"

	"github.com/shoenig/test/must"
)

func TestChanges(t *testing.T) {
	parse := func(src string) *Definition {
		t.Helper()
		d, diags := Parse([]byte(src), "x.sidecar.hcl")
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		return d
	}
	old := parse(`sidecar "x" {
  version = "1.0.0"
  summary = "Old."
  parameter "gone" { type = string }
  parameter "level" {
    type        = string
    default     = "info"
    description = "Old."
  }
  api {
    port "http" { to = 80 }
  }
  requires { share = ["pid"] }
  task "x" {
    driver = "pod"
    config {
      image   = "x:1" # a comment
      command = "run"
    }
    env { A = "1" }
    template { data = "a" }
    template { data = "b" }
  }
}`)
	now := parse(`sidecar "x" {
  version = "1.1.0"
  summary = "New."
  parameter "level" {
    type        = number
    default     = 1
    description = "New."
  }
  parameter "fresh" { default = 1 }
  api {
    port "http" { to = 80 }
  }
  task "x" {
    driver = "pod"
    config {
      image = "x:2"
      args  = [
        "a",
      ]
    }
    env {
      A = "1"
    }
    template { data = "a" }
    template { data = "c" }
    description = "a new field of Nomad's"
  }
}`)
	must.Eq(t, []string{
		`version: "1.0.0" → "1.1.0"`,
		`parameter "gone": removed`,
		`requires: removed`,
		`parameter "level".default: "info" → 1`,
		`parameter "level".type: string → number`,
		`parameter "fresh": added`,
		`task "x".description: added, "a new field of Nomad's"`,
		`task "x".config.args: added, (long)`,
		`task "x".config.command: removed, was "run"`,
		`task "x".config.image: "x:1" → "x:2"`,
		`task "x".template (2).data: "b" → "c"`,
	}, now.Changes(old))
	must.SliceEmpty(t, now.Changes(now))

	swapped := parse(`sidecar "x" {
  version = "1.0.0"
  task "a" {}
  task "b" {}
}`)
	must.Eq(t, []string{"blocks: their order changed"}, swapped.Changes(parse(`sidecar "x" {
  version = "1.0.0"
  task "b" {}
  task "a" {}
}`)))
}
