package templater_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// greedy may change everything of an app task.
const greedy = `sidecar "greedy" {
  version = "1.0.0"
  api {
    port "p" {
      to = 80
    }
  }
  task "greedy" {
    driver = "pod"
  }
  task "second" {
    driver = "pod"
  }
  service {
    name     = "s"
    provider = "nomad"
    port     = "p"
  }
  volume "v" {
    type   = "host"
    source = "data"
  }
  app {
    env {
      A = "ours"
    }
    config {
      dns    = ["1.1.1.1"]
      labels = { a = "b" }
    }
    volume_mount {
      volume      = "v"
      destination = "/v"
    }
    template {
      destination = "local/t"
      data        = "ours"
    }
  }
}
`

const greedyJob = `{"ID":"j","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge"}],"Tasks":[{"Name":"app","Driver":"pod","LogConfig":{"MaxFiles":3,"MaxFileSizeMB":7},"Config":{"command":"x"}}]}]}`

// refusedAsAltered holds a job to the rule: taking out is an error that says how to mend
// it, injecting too, and every byte is left.
func refusedAsAltered(t *testing.T, c *sidecar.Catalog, src, what string) {
	t.Helper()
	f := parseJSON(t, []byte(src), c)
	diags := job.Altered(f.Marks())
	must.Len(t, 1, diags, must.Sprint(what))
	must.Eq(t, "Edited or forged injection", diags[0].Summary)
	must.StrContains(t, diags[0].Detail, "but "+what+" is not what this sidecar wrote: ")
	must.StrContains(t, diags[0].Detail, "Then try again.")
	must.Eq(t, "job.json", diags[0].Subject.Filename)
	must.Eq(t, src, string(apply(t, f, nil)))
	choices, _ := templater.Choose(f.Job(), c, with("greedy"))
	_, diags = templater.Reconcile(f.Marks(), choices, c, nil, false)
	must.True(t, diags.HasErrors())
	_, diags = templater.Plan(f.Job(), choices)
	must.True(t, diags.HasErrors(), must.Sprint("what is left is no app task"))
}

// What was injected and then edited stays, whatever it is.
// Trap I19.
func TestEject_EditedSidecar(t *testing.T) {
	c := catalogOf(t, greedy)
	out := string(inject(t, parseJSON(t, []byte(greedyJob), c), c, with("greedy")))
	must.Eq(t, greedyJob, string(apply(t, parseJSON(t, []byte(out), c), nil)))
	for _, edit := range []struct{ from, to, what string }{
		{`"A":"ours"`, `"A":"mine"`, `variable A of task "app"`},
		{`"labels":[{"a":"b"}]`, `"labels":[{"a":"c"}]`, `config labels of task "app"`},
		{`"max_files":3`, `"max_files":4`, `config logs of task "app"`},
		{`"EmbeddedTmpl":"ours"`, `"EmbeddedTmpl":"mine"`, `the template at "local/t" of task "app"`},
		{`"Volume":"v"`, `"Volume":"w"`, `the volume_mount at "/v" of task "app"`},
		{`"To":80`, `"To":81`, `port "p"`},
		{`"Source":"data"`, `"Source":"root"`, `volume "v"`},
		{`"PortLabel":"p"`, `"PortLabel":"http"`, `service "s"`},
	} {
		must.StrContains(t, out, edit.from)
		refusedAsAltered(t, c, strings.Replace(out, edit.from, edit.to, 1), edit.what)
	}
	// What is there no more is no trouble, nor is what somebody did to the sidecar's tasks.
	gone := strings.Replace(out, `"A":"ours"`, `"B":"mine"`, 1)
	must.Eq(t, strings.Replace(greedyJob, `"x"}`, `"x"},"Env":{"B":"mine"}`, 1), string(apply(t, parseJSON(t, []byte(gone), c), nil)))
	edited := strings.Replace(out, `"Name":"second","Driver":"pod"`, `"Name":"second","Driver":"exec"`, 1)
	must.Eq(t, greedyJob, string(apply(t, parseJSON(t, []byte(edited), c), nil)))
}

// Marks that somebody wrote, on what is the job's own.
// Trap I19.
func TestEject_ForgedMark(t *testing.T) {
	c := catalogOf(t, greedy)
	const own = `{"Name":"app","Driver":"pod","Env":{"A":"own"},"Config":{"dns":["1.1.1.1"],"logs":[{"max_files":2}],"labels":[{"a":"b"}]},"Templates":[{"DestPath":"local/own","EmbeddedTmpl":"own"}],"VolumeMounts":[{"Volume":"d","Destination":"/own"}]}`
	for added, what := range map[string]string{
		`{"config":{"app":{"logs":null}}}`:                                   `config logs of task "app"`,
		`{"config":{"app":{"dns":["1.1.1.1"]}}}`:                             `config dns of task "app"`,
		`{"config":{"app":{"labels":null}}}`:                                 `config labels of task "app"`,
		`{"env":{"app":["A"]}}`:                                              `variable A of task "app"`,
		`{"blocks":{"app":[{"type":"template","destination":"local/own"}]}}`: `the template at "local/own" of task "app"`,
		`{"blocks":{"app":[{"type":"volume_mount","destination":"/own"}]}}`:  `the volume_mount at "/own" of task "app"`,
		`{"ports":["p"]}`:                                                    `port "p"`, `{"volumes":["v"]}`: `volume "v"`, `{"services":["web"]}`: `service "web"`,
		`{"env":{"app":["A"]},"seals":{"app/env/A":"` + job.Seal("ours") + `"}}`: `variable A of task "app"`,
	} {
		text, err := json.Marshal(added)
		must.NoError(t, err)
		src := `{"ID":"j","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge","DynamicPorts":[{"Label":"p","To":80}]}],"Volumes":{"v":{"Type":"host","Source":"own"}},` +
			`"Services":[{"Name":"web","PortLabel":"p","Provider":"nomad"}],"Tasks":[` + own + `,{"Name":"greedy","Driver":"pod","Meta":{"sidecar.name":"greedy","sidecar.version":"1.0.0","sidecar.digest":"` +
			c.Find("greedy").Digest + `","sidecar.origin":"flag","sidecar.added":` + string(text) + `}}]}]}`
		refusedAsAltered(t, c, src, what)
	}
}
