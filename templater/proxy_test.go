package templater_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// connectJob is a job with a mesh service.
const connectJob = `job "shop" {
  group "api" {
    network {
      mode = "bridge"
      port "metrics" {
        to = 9102
      }
      port "raw" {
        to = -1
      }
    }
    service {
      name = "shop-api"
      port = "9001"
      connect {
        %s
      }
    }
    task "api" {
      driver = "pod"
      config {
        image   = "docker.io/library/api:1"
        command = "api"
      }
    }
    %s
  }
}
`

// registered returns a job as Nomad's servers store it, with the proxies for a service mesh.
func registered(t must.T, raw []byte) []byte {
	var request struct{ Job *api.Job }
	must.NoError(t, json.Unmarshal(canonical(t, raw), &request))
	for _, g := range request.Job.TaskGroups {
		for _, s := range g.Services {
			addProxy(g, s)
		}
	}
	out, err := json.Marshal(request)
	must.NoError(t, err)
	return canonical(t, out)
}

// addProxy adds the port and the task of a service's proxy to a group.
func addProxy(g *api.TaskGroup, s *api.Service) {
	kind, port := "", ""
	switch c := s.Connect; {
	case c == nil || c.Native:
		return
	case c.SidecarService != nil:
		kind, port = "connect-proxy", c.SidecarService.Port
	case c.Gateway.Ingress != nil:
		kind = "connect-ingress"
	case c.Gateway.Terminating != nil:
		kind = "connect-terminating"
	default:
		kind, port = "connect-mesh", "connect-mesh-"+s.Name+"-lan"
	}
	if kind != "connect-ingress" && port == "" {
		port = kind + "-" + s.Name
	}
	ports := g.Networks[0].DynamicPorts
	if port != "" && !slices.ContainsFunc(ports, func(p api.Port) bool { return p.Label == port }) {
		g.Networks[0].DynamicPorts = append(ports, api.Port{Label: port, To: -1, HostNetwork: "default"})
	}
	if i := slices.IndexFunc(g.Tasks, func(t *api.Task) bool { return t.Kind == kind+":"+s.Name }); i >= 0 {
		if kind == "connect-proxy" {
			mergeProxy(g.Tasks[i], s.Connect.SidecarTask)
		}
		return
	}
	task := api.NewTask(kind+"-"+s.Name, "docker")
	task.Kind = kind + ":" + s.Name
	task.Config = map[string]any{}
	for _, c := range job.ProxyConfig(kind != "connect-proxy", g.Networks[0].Mode == "host") {
		raw, err := ctyjson.Marshal(c.Value, c.Value.Type())
		if err != nil {
			panic(err) // a string and a list of strings
		}
		var v any
		_ = json.Unmarshal(raw, &v) // just marshalled
		task.Config[c.Name] = v
	}
	mergeProxy(task, s.Connect.SidecarTask)
	task.Lifecycle = &api.TaskLifecycle{Hook: "prestart", Sidecar: true}
	task.Constraints = []*api.Constraint{api.NewConstraint("${attr.consul.version}", "semver", ">= 1.8.0"), api.NewConstraint("${attr.consul.grpc}", ">", "0")}
	g.Tasks = append(g.Tasks, task)
}

// mergeProxy is structs.SidecarTask.MergeIntoTask, as far as these tests need it.
func mergeProxy(task *api.Task, with *api.SidecarTask) {
	if with == nil {
		return
	}
	if with.Name != "" {
		task.Name = with.Name
	}
	if with.User != "" {
		task.User = with.User
	}
	if with.Driver != "" && with.Driver != task.Driver {
		task.Driver, task.Config = with.Driver, maps.Clone(with.Config)
	} else {
		maps.Copy(task.Config, with.Config)
	}
	if task.Meta == nil && with.Meta != nil {
		task.Meta = map[string]string{}
	}
	maps.Copy(task.Meta, with.Meta)
}

const meshSidecar = `sidecar "edge" {
  version = "1.0.0"
  summary = "Changes everything that it can."
  api {
    port "https" { to = 8443 }
    env "HTTPS_PORT" { value = 8443 }
  }
  requires { share = ["pid"] }
  task "edge" {
    driver = "pod"
    config { command = "edge" }
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
  }
  service {
    name = "edge"
    port = "https"
  }
  app {
    config { labels = { edge = "on" } }
    template {
      data        = "x"
      destination = "local/x"
    }
  }
}
`

// A job file, its stored form, and each stored form of that lead to one job.
func TestInject_Connect(t *testing.T) {
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"edge.sidecar.hcl": {Data: []byte(meshSidecar)}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	flags := with("edge")
	for name, connect := range map[string][2]string{
		"sidecar": {"sidecar_service {}"}, "port": {`sidecar_service { port = "mesh" }`}, "native": {"native = true"},
		"ingress": {"gateway {\n ingress {}\n }"}, "terminating": {"gateway {\n terminating {}\n }"}, "mesh": {"gateway {\n mesh {}\n }"},
		"own proxy": {"sidecar_service {}", "task \"envoy\" {\n kind = \"connect-proxy:shop-api\"\n driver = \"docker\"\n }"},
	} {
		t.Run(name, func(t *testing.T) {
			f := parseHCL(t, []byte(fmt.Sprintf(connectJob, connect[0], connect[1])))
			plain, diags := f.JSON()
			must.False(t, diags.HasErrors(), must.Sprint(diags))

			injected, err := json.Marshal(nomad(t, inject(t, f, c, flags)))
			must.NoError(t, err)
			want := registered(t, injected)
			must.Eq(t, string(want), string(registered(t, inject(t, parseJSON(t, plain, c), c, flags))))
			stored := registered(t, plain)
			for range 5 {
				stored = registered(t, inject(t, parseJSON(t, stored, c), c, flags))
				must.Eq(t, string(want), string(stored))
			}
		})
	}
}
