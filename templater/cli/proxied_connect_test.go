package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cli"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// meshJob has proxies with and without a sidecar_task. Its count keeps it from being placed.
const meshJob = `job "web" {
  group "api" {
    count = 0
    network {
      mode = "bridge"
    }
    service {
      name = "api"
      port = "9001"
      connect {
        sidecar_service {}
      }
    }
    service {
      name = "admin"
      port = "9002"
      connect {
        sidecar_service {}
        sidecar_task {
          user = "envoy"
          config {
            image = "example.com/envoy:1"
          }
          meta {
            team = "mesh"
          }
        }
      }
    }
    task "app" {
      driver = "pod"
    }
  }
}
`

// gatewayJob has a gateway in the host's network and no task of its own. Of the kinds of gateways it is the
// one that Nomad registers without Consul.
const gatewayJob = `job "web" {
  group "gateway" {
    count = 0
    network {
      mode = "host"
    }
    service {
      name = "gateway"
      port = "8080"
      connect {
        gateway {
          mesh {}
        }
      }
    }
  }
}
`

const meshRule = "rule \"mesh\" {\n  connect = \"pod\"\n}\n"

// A job with proxies that is injected as a file, as JSON or by the proxy, and one that a server had
// stored before, are one job to Nomad, whose proxies have the pod driver and Nomad's own settings.
func TestProxied_Connect(t *testing.T) {
	t.Run("proxies", func(t *testing.T) { connectTo(t, meshJob, "pod", "docker", "docker") })
	t.Run("gateway in the host's network", func(t *testing.T) { connectTo(t, gatewayJob, "docker") })
}

func connectTo(t *testing.T, text string, drivers ...string) {
	t.Helper()
	p := newProxied(t)
	p.write("rules.policy.hcl", meshRule)
	p.write("job.hcl", text)
	direct, through := p.client(p.nomad), p.client(p.frontWith("1.0.0", meshRule))
	parsed, err := direct.Jobs().ParseHCL(text, false)
	must.NoError(t, err)
	stored := func() *api.Job {
		t.Helper()
		j, _, err := direct.Jobs().Info("web", nil)
		must.NoError(t, err)
		return j
	}
	unchanged := func(client *api.Client, j *api.Job) {
		t.Helper()
		planned, _, err := client.Jobs().Plan(j, true, nil)
		must.NoError(t, err)
		must.Eq(t, "None", planned.Diff.Type)
	}

	// As Nomad stores it without the rule, and then with it.
	_, _, err = direct.Jobs().Register(parsed, nil)
	must.NoError(t, err)
	before := stored()
	must.Eq(t, drivers, driversOf(before))
	_, _, err = through.Jobs().Register(before, nil)
	must.NoError(t, err)
	after := stored()
	for i := range after.TaskGroups[0].Tasks {
		was, is := before.TaskGroups[0].Tasks[i], after.TaskGroups[0].Tasks[i]
		must.Eq(t, "pod", is.Driver)
		if was.Driver != is.Driver {
			must.NotEq(t, "", is.Meta[job.MarkProxy])
			delete(is.Meta, job.MarkProxy)
			is.Driver = was.Driver
		}
		if len(is.Meta) == 0 {
			is.Meta = was.Meta
		}
		must.Eq(t, was, is)
	}

	// All other ways are the same job.
	unchanged(through, before)
	unchanged(through, stored())
	unchanged(through, parsed)
	for _, form := range []string{"hcl", "json"} {
		out := p.output("inject", "-policy", p.path("rules.policy.hcl"), "-out", form, p.path("job.hcl"))
		injected := &struct{ Job *api.Job }{}
		if form == "json" {
			must.NoError(t, json.Unmarshal([]byte(out), injected))
		} else if injected.Job, err = direct.Jobs().ParseHCL(out, false); err != nil {
			must.NoError(t, err)
		}
		unchanged(direct, injected.Job)
		unchanged(through, injected.Job)
	}
	p.Setenv("NOMAD_ADDR", p.nomad)
	must.StrNotContains(t, p.output("plan", "-policy", p.path("rules.policy.hcl"), p.path("job.hcl")), "+/-")
	listed := p.output("status", "-policy", p.path("rules.policy.hcl"))
	must.Eq(t, strings.Count(strings.Join(drivers, " "), "docker"), strings.Count(listed, "  proxy of "))
	must.StrContains(t, listed, "1 job, 0 of them differ")

	// Eject restores the job without the rule.
	raw, err := json.Marshal(stored())
	must.NoError(t, err)
	p.write("stored.json", string(raw))
	ejected := &api.Job{}
	must.NoError(t, json.Unmarshal([]byte(p.output("eject", p.path("stored.json"))), ejected))
	_, _, err = direct.Jobs().Register(ejected, nil)
	must.NoError(t, err)
	must.Eq(t, before.TaskGroups, stored().TaskGroups)
}

func driversOf(j *api.Job) (drivers []string) {
	for _, t := range j.TaskGroups[0].Tasks {
		drivers = append(drivers, t.Driver)
	}
	return drivers
}

// output runs a command, which must succeed.
func (p *proxied) output(args ...string) string {
	p.Helper()
	var out, wrong bytes.Buffer
	program := &cli.Program{Version: "0", Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &wrong}
	must.Zero(p, program.Run(), must.Sprint(args, wrong.String()))
	return out.String()
}
