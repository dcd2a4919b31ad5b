package templater_test

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// parsed are the blocks of a definition with these tasks, as they are injected.
func parsed(t *testing.T, tasks string) []*sidecar.Block {
	t.Helper()
	d, diags := sidecar.Parse([]byte("sidecar \"x\" {\n version = \"1.0.0\"\n"+tasks+"}\n"), "x.sidecar.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return d.Sample().Tasks
}

func TestTotalsCountWhatRunsAtTheSameTime(t *testing.T) {
	const sidecarHook, quiet = "lifecycle {\n hook = \"prestart\"\n sidecar = true\n}\n", "logs {\n disabled = true\n}\n"
	for name, c := range map[string]struct {
		tasks string
		want  templater.Resources
	}{
		"defaults":  {"task \"a\" {}\n", templater.Resources{CPUMHz: 100, MemoryMB: 300, MemoryMaxMB: 300, DiskMB: 100}},
		"cores":     {"task \"a\" {\n resources {\n cores = 2\n memory = 10\n memory_max = 20\n }\n logs {\n max_files = 2\n max_file_size = 3\n }\n}\n", templater.Resources{Cores: 2, MemoryMB: 10, MemoryMaxMB: 20, DiskMB: 6}},
		"beside":    {"task \"a\" {\n" + quiet + sidecarHook + "}\ntask \"b\" {\n" + quiet + "}\n", templater.Resources{CPUMHz: 200, MemoryMB: 600, MemoryMaxMB: 600}},
		"before":    {"task \"a\" {\n lifecycle {\n hook = \"prestart\"\n }\n resources {\n memory = 500\n }\n}\ntask \"b\" {\n" + sidecarHook + "}\n", templater.Resources{CPUMHz: 200, MemoryMB: 800, MemoryMaxMB: 800, DiskMB: 200}},
		"small":     {"task \"a\" {\n lifecycle {\n hook = \"prestart\"\n }\n}\ntask \"b\" {}\n", templater.Resources{CPUMHz: 100, MemoryMB: 300, MemoryMaxMB: 300, DiskMB: 200}},
		"poststart": {"task \"a\" {\n lifecycle {\n hook = \"poststart\"\n sidecar = true\n }\n}\ntask \"b\" {}\n", templater.Resources{CPUMHz: 200, MemoryMB: 600, MemoryMaxMB: 600, DiskMB: 200}},
		"poststop":  {"task \"a\" {\n lifecycle {\n hook = \"poststop\"\n }\n resources {\n cpu = 900\n }\n}\ntask \"b\" {}\n", templater.Resources{CPUMHz: 900, MemoryMB: 300, MemoryMaxMB: 300, DiskMB: 200}},
	} {
		j := parseHCL(t, []byte(jobOf("", "", ""))).Job()
		var edits []job.Edit
		for _, task := range parsed(t, c.tasks) {
			edits = append(edits, &job.AddTask{Group: "g", Task: task})
		}
		totals := templater.Totals(j, edits)
		must.Len(t, 1, totals, must.Sprint(name))
		must.Eq(t, c.want, totals[0].Resources, must.Sprint(name))
		must.Eq(t, len(edits), totals[0].Tasks)
	}
}

// Each group has its own sum, and the job that of all its allocations.
func TestTotalsOfGroupsAndOfTheJob(t *testing.T) {
	c := loadCatalog(t)
	src := "variable \"n\" { type = number }\njob \"j\" {\n"
	for _, group := range []string{"\"two\" {\n count = 2\n", "\"one\" {\n", "\"none\" {\n count = 0\n", "\"unknown\" {\n count = var.n\n", "\"without\" {\n"} {
		src += "group " + group + bridge + "task \"app\" {\n driver = \"pod\"\n}\n}\n"
	}
	j := parseHCL(t, []byte(src+"}\n")).Job()
	flags := with("ports", "anywhere")
	flags.Groups = []string{"two", "one", "none", "unknown"}
	totals := templater.Totals(j, plan(t, j, c, flags))
	must.Len(t, 4, totals)
	// ports-init runs before, with the default 100 MHz and 300 MB, and so counts
	// where it needs more than ports, which comes after it.
	each := templater.Resources{CPUMHz: 120, MemoryMB: 316, MemoryMaxMB: 316, Ports: 2, DiskMB: 210}
	counts := map[string]int{"two": 2, "one": 1, "none": 0, "unknown": -1}
	for _, total := range totals {
		must.Eq(t, each, total.Resources, must.Sprint(total.Group))
		must.Eq(t, counts[total.Group], total.Count)
		must.Eq(t, 3, total.Tasks)
	}
	must.Eq(t, each.Times(4), templater.Sum(totals))
}

// Nomad refuses a task whose logs do not fit on the disk of its group.
func TestLogsMustFitOnTheDisk(t *testing.T) {
	c := loadCatalog(t)
	const tooLittle = `Too little disk: The logs of task "anywhere" of sidecar "anywhere"`
	for size, want := range map[string]string{"100": tooLittle, "101": "", "var.size": "Unknown value: Whether the logs of task"} {
		src := "variable \"size\" { type = number }\n" + jobOf("", "ephemeral_disk {\n size = "+size+"\n}", "")
		f, diags := hcljob.Parse([]byte(src), "job.hcl", hcljob.Inputs{})
		must.False(t, diags.HasErrors())
		_, err := editsOf(f.Job(), c, with("anywhere"))
		if want == "" {
			must.NoError(t, err)
			continue
		}
		must.ErrorContains(t, err, want)
		if want == tooLittle {
			must.ErrorContains(t, err, "ephemeral_disk { size = 200 }")
		}
	}
	f, diags := jsonjob.Parse([]byte(`{"ID":"j","TaskGroups":[{"Name":"g","EphemeralDisk":{"SizeMB":50},"Tasks":[{"Name":"app","Driver":"pod"}]}]}`), "job.json", c)
	must.False(t, diags.HasErrors())
	_, err := editsOf(f.Job(), c, with("anywhere"))
	must.ErrorContains(t, err, "has 50 MB")
}
