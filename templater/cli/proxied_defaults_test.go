package cli_test

import (
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

const defaultsPolicy = `rule "base" {
  default {
    kill_timeout   = "30s"
    shutdown_delay = "5s"
    restart {
      attempts = 5
    }
    reschedule {
      unlimited = false
      attempts  = 3
      interval  = "1h"
    }
    update {
      max_parallel = 2
    }
    resources {
      memory = 64
    }
  }
}
`

const defaultsJob = `job "web" {
  group "g" {
    task "app" {
      driver       = "pod"
      kill_timeout = "7s"
    }
  }
}
`

// A real Nomad accepts jobs with defaults and keeps their marks. Planning the file or the stored job again
// shows no change, and a policy without defaults leaves the job that its author wrote.
func TestProxied_Defaults(t *testing.T) {
	p := newProxied(t)
	direct := p.client(p.nomad)
	file, err := direct.Jobs().ParseHCL(defaultsJob, false)
	must.NoError(t, err)
	diff := func(through *api.Client, job *api.Job) string {
		planned, _, err := through.Jobs().Plan(job, true, nil)
		must.NoError(t, err)
		return planned.Diff.Type
	}
	stored := func() *api.Job {
		job, _, err := direct.Jobs().Info("web", nil)
		must.NoError(t, err)
		return job
	}
	through := p.client(p.frontWith("1.0.0", defaultsPolicy))
	must.Eq(t, "Added", diff(through, file))
	_, _, err = through.Jobs().Register(file, nil)
	must.NoError(t, err)
	must.Eq(t, "None", diff(through, file))
	must.Eq(t, "None", diff(through, stored()))
	g := stored().TaskGroups[0]
	must.Eq(t, 2, *g.Update.MaxParallel)
	must.Eq(t, 5, *g.Tasks[0].RestartPolicy.Attempts)
	must.Eq(t, 2, *g.RestartPolicy.Attempts)
	must.Eq(t, 64, *g.Tasks[0].Resources.MemoryMB)
	must.Eq(t, "7s", g.Tasks[0].KillTimeout.String())
	must.Len(t, 1, g.Constraints)

	without := p.client(p.frontWith("1.0.0", proxiedPolicy))
	_, _, err = without.Jobs().Register(stored(), nil)
	must.NoError(t, err)
	must.SliceEmpty(t, stored().TaskGroups[0].Constraints)
	must.Eq(t, "None", diff(direct, file))
}
