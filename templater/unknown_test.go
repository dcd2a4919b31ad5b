package templater_test

import (
	"fmt"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// openValues returns possible values of the parts of a job, the most harmless one first.
func openValues() map[string][]string {
	return map[string][]string{
		"namespace": {"default", "prod"}, "type": {"service", "batch"}, "region": {"global", "eu"}, "node_pool": {"default", "gpu"}, "dc": {"dc1", "dc2"},
		"inject": {"anywhere", "", "ports", "viewer", "reader", "ports, reader", "anywhere, viewer", "awkward", "named, reader"}, "team": {"a", "b"},
		"mode": {"bridge", "host"}, "to": {"8080", "9001", "0"}, "static": {"0", "9001"}, "disk": {"300", "900", "50"},
		"service": {"web", "ports"}, "driver": {"pod", "docker"}, "one": {"9001", "1"}, "image": {"app:1", "other:1"},
		"files": {"10", "3"}, "destination": {"local/x", "local/anywhere"},
	}
}

// reader depends on values of the job.
const reader = `
  parameter "level" {
    type    = number
    default = 0
  }
  task "reader" {
    driver = "docker"
    env {
      PLACE = "${job.namespace}/${job.region}"
      COUNT = group.count
      TEAM  = lookup(job.meta, "team", "none")
      LEVEL = param.level
      WHAT  = "${job.name} ${job.type} ${job.id}"
    }
  }
`

func openRules() []string {
	var out []string
	rule := func(match, rest string) {
		out = append(out, fmt.Sprintf("rule \"r%d\" {\n match {\n%s\n}\n%s\n}\n", len(out), match, rest))
	}
	for _, match := range []string{
		`namespace = ["prod"]`, `type = ["batch"]`, `region = ["eu"]`, `node_pool = ["gpu"]`, `datacenter = ["dc2"]`, `network = ["bridge"]`,
		`driver = ["docker"]`, `meta = { team = "b" }`, `meta = { tier = "front" }`, "namespace = [\"prod\"]\n driver = [\"pod\"]", `job = ["j"]`,
	} {
		for _, rest := range []string{
			`inject "reader" {}`, "on_error = \"skip\"\n inject \"ports\" {}", "required = true\n inject \"anywhere\" {}",
			"inject \"reader\" {\n level = group.count\n}", "on_error = \"skip\"\n inject \"viewer\" {}",
		} {
			rule(match, rest)
		}
	}
	for _, condition := range []string{
		`job.namespace != "prod" || group.count < 2`, `!contains(group.drivers, "docker")`, `length([for i in group.images : i if substr(i, 0, 3) != "app"]) == 0`,
		`contains(job.datacenters, "dc1")`, `lookup(group.meta, "tier", "back") != "front"`, `try(job.meta.team, "") == "a"`, `length(group.networks) == 1`,
		`contains(group.sidecars, "anywhere") || job.type == "batch"`,
	} {
		rule("", "validation {\n condition = "+condition+"\n error_message = \"no\"\n}")
	}
	return out
}

// TestInject_UnknownPortInsideWithStatic: an unknown "to" is not replaced by the static port, which
// the sidecar's port would conflict with.
func TestInject_UnknownPortInsideWithStatic(t *testing.T) {
	f := parseHCL(t, []byte("variable \"to\" {}\njob \"j\" {\n group \"g\" {\n  network {\n   mode = \"bridge\"\n   port \"app\" {\n    static = 9001\n    to = var.to\n   }\n  }\n  task \"app\" {\n   driver = \"pod\"\n  }\n }\n}\n"))
	_, diags := templater.Inject(f, loadCatalog(t), with("ports"))
	must.True(t, diagnostic.HasUnknown(diags), must.Sprint(diags))
	must.StrNotContains(t, diags.Error(), "Port taken inside the pod")
}
