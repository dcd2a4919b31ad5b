package analyze

import (
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

const proxyDefinition = `sidecar "proxy" {
  version = "1.0.0"
  summary = "A proxy."
  parameter "secret" {
    type      = string
    default   = "hunter2"
    sensitive = true
  }
  api {
    port "web" {
      to          = 80
      description = "The proxy."
    }
  }
  requires {
    network = ["bridge"]
  }
  task "proxy" {
    driver = "docker"
    config {
      image   = "proxy"
      volumes = ["$${NOMAD_TASK_DIR}/${param.secret}:/x"]
    }
    resources {
      memory = 500
    }
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
  }
}
`

func proxyCatalog(t *testing.T) *sidecar.Catalog {
	t.Helper()
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"proxy.sidecar.hcl": {Data: []byte(proxyDefinition)}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return c
}

// injected returns the findings of a job with the sidecars of the catalog.
func injected(t *testing.T, src string, flags templater.Flags, s Settings) []Finding {
	t.Helper()
	doc, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	in, selected := templater.Select(doc, proxyCatalog(t), flags)
	found, diags := Injection(in, doc, selected, s)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return found
}

const proxied = `job "j" {
  meta = { "sidecar_inject" = "x" }
  group "g" {
    meta = { "sidecar.inject" = "proxy" }
    network {
      mode = "bridge"
    }
    service {
      port = "web"
      check {
        type     = "tcp"
        interval = "1s"
        timeout  = "1s"
      }
    }
    task "app" {
      driver = "docker"
      config { image = "app:1" }
      env    { PORT = "${NOMAD_PORT_web}" }
    }
  }
}
`

// The sidecar's port counts, its task is checked at its place in the definition, and its secret is
// not in the text.
func TestInjection(t *testing.T) {
	found := injected(t, proxied, templater.Flags{}, Settings{MemoryMB: 600})
	must.Eq(t, []string{
		`NS1002 / Meta without effect: "sidecar_inject" has no effect. Did you mean "sidecar.inject", as in meta = { "sidecar.inject" = … }? The keys are "sidecar.inject", "sidecar.exclude" and "sidecar.NAME.PARAMETER".`,
		`NS1023 g/ Group "g" has services, but no shutdown_delay: clients still use their addresses while it stops.`,
		`NS1030 g/proxy Task "proxy" of group "g" runs image "proxy", which may be another one at each start.`,
		`NS1032 g/proxy Volume "${NOMAD_TASK_DIR}/(sensitive):/x" of task "proxy" of group "g": ${NOMAD_TASK_DIR} is the path inside the container, so that the source is a directory of the host.`,
		`NS1040 g/ An allocation of group "g" reserves 800 MB with its sidecars, more than the limit of 600 MB: app 300, proxy 500.`,
	}, told(found))
	for _, f := range found {
		if f.Code.ID == "NS1030" {
			must.Eq(t, "catalog/proxy.sidecar.hcl", f.Range.Filename)
			must.Eq(t, 21, f.Range.Start.Line)
		}
	}
}

func TestInjection_Fails(t *testing.T) {
	const hostJob = `job "j" {
  group "g" {
    meta = { "sidecar.inject" = "proxy, unknown" }
    task "app" {
      driver = "docker"
      config { image = "app" }
    }
  }
}`
	must.Eq(t, []string{
		`NS1001 / "inject" refuses the job: Unknown sidecar: There is no sidecar "unknown" in the catalog. It has: proxy. Correct the name, or name its catalog with -catalog.`,
		`NS1030 g/app Task "app" of group "g" runs image "app", which may be another one at each start.`,
	}, told(injected(t, hostJob, templater.Flags{}, Settings{})))
}

func TestInjection_Excluded(t *testing.T) {
	const job = `job "j" {
  group "g" {
    meta = {
      "sidecar.inject"  = "proxy"
      "sidecar.exclude" = "proxy"
    }
    task "app" {
      driver = "docker"
      config { image = "app:1" }
    }
  }
}`
	must.Eq(t, []string{
		`NS1003 / Sidecar excluded: Sidecar "proxy" was chosen for group "g" by meta, but "sidecar.exclude" excludes it.`,
	}, told(injected(t, job, templater.Flags{}, Settings{})))
}

// An injected job is checked as it stands, at its own lines, and so is what its JSON says.
func TestInjection_Marked(t *testing.T) {
	doc, diags := hcljob.Parse([]byte(proxied), "job.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors())
	in, diags := templater.Inject(doc, proxyCatalog(t), templater.Flags{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	fresh := injected(t, proxied, templater.Flags{}, Settings{})
	again := injected(t, string(in.Output), templater.Flags{}, Settings{})
	must.Eq(t, told(fresh), told(again))
	for _, f := range again {
		if f.Code.ID != "NS1002" { // its position is in the job without sidecars, as everywhere
			must.Eq(t, "job.hcl", f.Range.Filename)
		}
	}

	whole, diags := hcljob.Parse(in.Output, "job.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	raw, diags := whole.SourceJSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	j, diags := jsonjob.Parse(raw, "job.json", proxyCatalog(t))
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	kept, selected := templater.Select(j, proxyCatalog(t), templater.Flags{})
	found, diags := Injection(kept, j, selected, Settings{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, told(fresh), told(found))
}
