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
    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }
    meta {
      team = "shop"
    }
    env {
      LANG = "C.UTF-8"
      PORT = "${NOMAD_PORT_http}"
    }
    logs {
      max_files = 3
    }
  }
}
`

const vaultPolicy = `rule "vault" {
  default {
    vault {
      role          = "app"
      change_mode   = "signal"
      change_signal = "SIGHUP"
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
	must.Len(t, 2, g.Constraints)
	must.Eq(t, "shop", g.Meta["team"])
	must.Eq(t, map[string]string{"LANG": "C.UTF-8", "PORT": "${NOMAD_PORT_http}"}, g.Tasks[0].Env)
	must.Eq(t, 3, *g.Tasks[0].LogConfig.MaxFiles)
	must.MapContainsKey(t, g.Tasks[0].Config, "logs")

	without := p.client(p.frontWith("1.0.0", proxiedPolicy))
	_, _, err = without.Jobs().Register(stored(), nil)
	must.NoError(t, err)
	must.SliceEmpty(t, stored().TaskGroups[0].Constraints)
	must.Eq(t, "None", diff(direct, file))
}

// A real Nomad adds an identity and constraints to a job with a default for vault. They are no change of
// the job's file, and go when the default goes.
func TestProxied_DefaultVault(t *testing.T) {
	p := newProxied(t)
	direct, through, without := p.client(p.nomad), p.client(p.frontWith("1.0.0", vaultPolicy)), p.client(p.frontWith("1.0.0", proxiedPolicy))
	file, err := direct.Jobs().ParseHCL(defaultsJob, false)
	must.NoError(t, err)
	register := func(to *api.Client, job *api.Job) *api.Job {
		_, _, err := to.Jobs().Register(job, nil)
		must.NoError(t, err)
		stored, _, err := direct.Jobs().Info("web", nil)
		must.NoError(t, err)
		return stored
	}
	stored := register(through, file)
	must.Eq(t, "app", stored.TaskGroups[0].Tasks[0].Vault.Role)
	must.Len(t, 1, stored.TaskGroups[0].Tasks[0].Identities)
	planned, _, err := through.Jobs().Plan(file, true, nil)
	must.NoError(t, err)
	must.Eq(t, "None", planned.Diff.Type)

	// Nomad itself adds one of the constraints each time that it gets a stored job.
	stored = register(through, stored)
	stored = register(without, stored)
	must.SliceEmpty(t, stored.TaskGroups[0].Constraints)
	must.SliceEmpty(t, stored.TaskGroups[0].Tasks[0].Identities)
	must.Nil(t, stored.TaskGroups[0].Tasks[0].Vault)
	planned, _, err = direct.Jobs().Plan(file, true, nil)
	must.NoError(t, err)
	must.Eq(t, "None", planned.Diff.Type)
}
