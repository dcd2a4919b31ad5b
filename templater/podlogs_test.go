package templater_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// The pod driver collects output itself, and Nomad tells it nothing of a task's logs
// block.

// logsJob is fullJob whose app has a logs block, and more config.
func logsJob(logs, config string) []byte {
	src := strings.Replace(fullJob, "driver = \"pod\"\n", "driver = \"pod\"\n      "+logs+"\n", 1)
	return []byte(strings.Replace(src, "command = \"app\"\n", "command = \"app\"\n        "+config+"\n", 1))
}

func told(files, size float64) any {
	return []any{map[string]any{"max_files": files, "max_file_size": size}}
}

// configs are those of the tasks that come of HCL and of JSON, which must be the same.
func configs(t *testing.T, src []byte, task string, names ...string) map[string]any {
	c := loadCatalog(t)
	f := parseHCL(t, src)
	out := inject(t, f, c, with(names...))
	back, diags := hcljob.Eject(out, "job.hcl")
	must.False(t, diags.HasErrors())
	must.Eq(t, string(src), string(back))
	j := nomad(t, out)
	raw, diags := f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	asJSON := inject(t, parseJSON(t, raw, c), c, with(names...))
	equal(t, j, decode(t, asJSON))
	must.Eq(t, string(raw), string(apply(t, parseJSON(t, asJSON, c), nil)))
	return find(t, groupOf(j)["Tasks"], task)["Config"].(map[string]any)
}

func TestLogsOfAnAppTaskAreRepeatedForThePodDriver(t *testing.T) {
	for _, test := range []struct {
		name, logs, config string
		want               any
	}{
		{"both", "logs {\n max_files = 3\n max_file_size = 20\n }", "", told(3, 20)},
		{"what is not said is Nomad's default", "logs { max_file_size = 20 }", "", told(10, 20)},
		{"the driver's defaults are not repeated", "logs {\n max_files = 10\n max_file_size = 10\n }", "", nil},
		{"off is known to the driver", "logs {\n max_files = 3\n disabled = true\n }", "", nil},
		{"no block", "", "", nil},
		{"a block of the user's", "logs { max_files = 3 }", "logs { max_files = 7 }", []any{map[string]any{"max_files": 7.0}}},
		{"an attribute of the user's", "logs { max_files = 3 }", "logs = { max_files = 7 }", []any{map[string]any{"max_files": 7.0}}},
		{"numbers that Nomad refuses", "logs { max_files = -1 }", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			// The last of several sidecars does it, whichever that is.
			for _, names := range [][]string{{"viewer"}, {"awkward", "ports", "viewer"}} {
				must.Eq(t, test.want, configs(t, logsJob(test.logs, test.config), "app", names...)["logs"])
			}
		})
	}
}

func TestLogsAreWrittenAsABlock(t *testing.T) {
	c := loadCatalog(t)
	out := inject(t, parseHCL(t, logsJob("logs { max_files = 3 }", "")), c, with("ports"))
	must.StrContains(t, string(out), "        logs {\n          max_file_size = 10\n          max_files     = 3\n        }\n")
}

func TestLogsOfOtherDriversStayTheirs(t *testing.T) {
	c := loadCatalog(t)
	src := strings.ReplaceAll(string(logsJob("logs { max_files = 3 }", "")), `"pod"`, `"docker"`)
	out := inject(t, parseHCL(t, []byte(src)), c, with("ports"))
	config := find(t, groupOf(nomad(t, out))["Tasks"], "app")["Config"].(map[string]any)
	must.MapNotContainsKey(t, config, "logs")
}

func TestPlan_LogsNotKnown(t *testing.T) {
	c := loadCatalog(t)
	for _, logs := range []string{"logs { max_files = var.n }", "dynamic \"logs\" {\n for_each = var.n\n content { max_files = 2 }\n }"} {
		f := parseHCL(t, append([]byte("variable \"n\" {}\n"), logsJob(logs, "")...))
		choices, diags := templater.Choose(f.Job(), c, with("viewer"))
		must.False(t, diags.HasErrors())
		_, diags = templater.Plan(f.Job(), choices)
		must.Len(t, 1, diags)
		must.Eq(t, "Unknown value", diags[0].Summary)
		must.StrContains(t, diags[0].Detail, "The logs block of task")
	}
}

// A sidecar that sets the config on purpose is not in the way of what the job says.
func TestLogsThatASidecarSetsStay(t *testing.T) {
	c := loadCatalog(t)
	define(t, c, `
  task "z-logs" {
    driver = "pod"
  }
  app {
    config {
      logs = { max_files = 5 }
    }
  }`)
	for _, names := range [][]string{{"z-logs"}, {"ports", "z-logs"}} {
		out := inject(t, parseHCL(t, logsJob("logs { max_files = 3 }", "")), c, with(names...))
		config := find(t, groupOf(nomad(t, out))["Tasks"], "app")["Config"].(map[string]any)
		must.Eq(t, []any{map[string]any{"max_files": 5.0}}, config["logs"].([]any))
	}
}

func TestLogsOfAnInjectedTaskAreRepeatedForThePodDriver(t *testing.T) {
	must.Eq(t, told(2, 5), configs(t, []byte(fullJob), "ports", "ports")["logs"])
	for _, test := range []struct {
		name, task string
		want       string
	}{
		{"without a config", "driver = \"pod\"\nlogs { max_files = 3 }", "config {\n logs {\n max_files = 3\n max_file_size = 10\n }\n }"},
		{"with one of its own", "driver = \"pod\"\nlogs { max_files = 3 }\nconfig {\n logs { max_files = 4 }\n }", "config {\n logs {\n max_files = 4\n }\n }"},
		{"of another driver", "driver = \"docker\"\nlogs { max_files = 3 }", ""},
		{"off", "driver = \"pod\"\nlogs {\n max_files = 3\n disabled = true\n }", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &sidecar.Catalog{}
			define(t, c, "task \"z-logs\" {\n"+test.task+"\n}")
			for range 2 { // the definition is not changed by it
				edits := plan(t, parseHCL(t, []byte(fullJob)).Job(), c, with("z-logs"))
				text := ""
				for _, b := range edits[0].(*job.AddTask).Task.Body.Blocks("config") {
					text += b.HCL(sidecar.Style{})
				}
				must.Eq(t, strings.Join(strings.Fields(test.want), " "), strings.Join(strings.Fields(text), " "))
			}
		})
	}
}

// The driver's defaults are Nomad's: a job that Nomad gives back has them written out.
func TestLogsThatNomadWritesOutAreNotRepeated(t *testing.T) {
	c := loadCatalog(t)
	raw, diags := parseHCL(t, []byte(fullJob)).JSON()
	must.False(t, diags.HasErrors())
	stored := canonical(t, raw)
	must.StrContains(t, string(stored), `"MaxFiles":10`)
	edits := plan(t, parseJSON(t, stored, c).Job(), c, with("ports"))
	for _, e := range edits {
		_, isConfig := e.(*job.SetConfig)
		must.False(t, isConfig)
	}
}

// define adds a sidecar z-logs to a catalog.
func define(t *testing.T, c *sidecar.Catalog, body string) {
	src := "sidecar \"z-logs\" {\n version = \"1.0.0\"\n" + body + "\n}\n"
	diags := c.Load(fstest.MapFS{"z-logs.sidecar.hcl": {Data: []byte(src)}}, "")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
}
