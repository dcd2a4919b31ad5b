package templater_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// jobOf is a job with these lines in the job, in its group, and in its task.
func jobOf(inJob, inGroup, inTask string) string {
	return fmt.Sprintf("job \"j\" {\n%s\n  group \"g\" {\n%s\n    task \"app\" {\n      driver = \"pod\"\n%s\n    }\n  }\n}\n", inJob, inGroup, inTask)
}

const bridge = "network {\n mode = \"bridge\"\n}\n"

// Injection works in every kind of job and group, and keeps its promises there.
func TestKindsOfJobsAndGroups(t *testing.T) {
	c := loadCatalog(t)
	everywhere := []string{"anywhere", "awkward", "viewer"}
	for name, job := range map[string]string{
		"service":       jobOf(`type = "service"`, "", ""),
		"batch":         jobOf(`type = "batch"`, "", ""),
		"system":        jobOf(`type = "system"`, "", ""),
		"sysbatch":      jobOf(`type = "sysbatch"`, "", ""),
		"periodic":      jobOf("type = \"batch\"\nperiodic {\n crons = [\"@daily\"]\n prohibit_overlap = true\n}", "", ""),
		"parameterized": jobOf("type = \"batch\"\nparameterized {\n payload = \"required\"\n meta_required = [\"k\"]\n}", "", "dispatch_payload {\n file = \"in\"\n}"),
		"multiregion": jobOf("multiregion {\n strategy {\n max_parallel = 1\n }\n region \"a\" {\n count = 2\n datacenters = [\"a1\"]\n }\n region \"b\" {\n count = 1\n }\n}",
			"", ""),
		"no network":     jobOf("", "", ""),
		"host network":   jobOf("", "network {\n mode = \"host\"\n port \"http\" {\n static = 80\n }\n}", ""),
		"none":           jobOf("", "network {\n mode = \"none\"\n}", ""),
		"cni network":    jobOf("", "network {\n mode = \"cni/mine\"\n cni {\n args = { A = \"b\" }\n }\n dns {\n servers = [\"1.1.1.1\"]\n }\n}", ""),
		"bridge network": jobOf("", bridge, ""),
		"connect":        jobOf("", bridge+"service {\n name = \"api\"\n provider = \"nomad\"\n port = \"9001\"\n}\nservice {\n name = \"w\"\n provider = \"nomad\"\n}", ""),
		"CSI volume": jobOf("", "volume \"v\" {\n type = \"csi\"\n source = \"s\"\n access_mode = \"single-node-writer\"\n attachment_mode = \"file-system\"\n mount_options {\n fs_type = \"ext4\"\n }\n}",
			"volume_mount {\n volume = \"v\"\n destination = \"/v\"\n}"),
		"host volume": jobOf("", "volume \"v\" {\n type = \"host\"\n source = \"s\"\n read_only = true\n}", "volume_mount {\n volume = \"v\"\n destination = \"/v\"\n}"),
		"scaling":     jobOf("", "count = 2\nscaling {\n min = 1\n max = 5\n policy {\n cooldown = \"1m\"\n }\n}", "scaling \"cpu\" {\n max = 500\n policy {}\n}"),
		"update and restart": jobOf("update {\n canary = 1\n}", "update {\n max_parallel = 2\n}\nrestart {\n attempts = 0\n}\nreschedule {\n attempts = 0\n unlimited = false\n}\nmigrate {\n max_parallel = 2\n}",
			"restart {\n attempts = 9\n}"),
		"vault":      jobOf("vault {\n policies = [\"p\"]\n}", "vault {\n role = \"r\"\n}", "vault {\n role = \"q\"\n}"),
		"secret":     jobOf("", "secret \"s\" {\n provider = \"nomad\"\n path = \"p\"\n}", "secret \"t\" {\n provider = \"nomad\"\n path = \"p\"\n}"),
		"identity":   jobOf("", "", "identity {\n env = true\n}\nidentity {\n name = \"x\"\n aud = [\"y\"]\n ttl = \"1h\"\n}"),
		"constraint": jobOf("constraint {\n distinct_hosts = true\n}", "constraint {\n attribute = \"${attr.kernel.name}\"\n value = \"linux\"\n}\naffinity {\n attribute = \"${meta.x}\"\n value = \"y\"\n}\nspread {\n attribute = \"${node.datacenter}\"\n}", "constraint {\n attribute = \"${node.class}\"\n value = \"big\"\n}"),
		"the rest":   jobOf("", "shutdown_delay = \"1s\"\nephemeral_disk {\n size = 500\n}\ndisconnect {\n lost_after = \"1m\"\n}\nconsul {\n namespace = \"n\"\n}", "leader = true\nkill_signal = \"SIGINT\"\nartifact {\n source = \"http://x\"\n}\nlogs {\n max_files = 2\n}\naction \"a\" {\n command = \"x\"\n}\nresources {\n cores = 1\n device \"gpu\" {}\n}"),
		"several groups": `job "j" {
  group "a" {
    network {
      mode = "bridge"
    }
    task "one" { driver = "pod" }
    task "two" {
      driver = "pod"
      lifecycle {
        hook = "prestart"
      }
    }
  }
  group "b" {
    count = 0
    task "one" { driver = "pod" }
  }
}
`,
	} {
		t.Run(name, func(t *testing.T) {
			j := corpusJob{place: "job.hcl", dir: ".", text: []byte(job)}
			must.NoError(t, j.keeps(c, with(everywhere...)), must.Sprint(job))
			out, err := j.keepsText(c, with(everywhere...))
			must.NoError(t, err)
			groups := parseHCL(t, []byte(job)).Job().Groups
			must.Eq(t, len(groups), strings.Count(string(out), "task \"anywhere\""))
			if strings.Contains(job, `"bridge"`) {
				must.NoError(t, j.keeps(c, templater.Flags{With: with("ports").With, Groups: []string{groups[0].Name}}))
			}
		})
	}
}

// A Connect proxy is Nomad's own sidecar, which it adds when the job is registered.
func TestKindsOfConnectServices(t *testing.T) {
	c := loadCatalog(t)
	for name, connect := range map[string]string{
		"sidecar": "sidecar_service {\n proxy {\n upstreams {\n destination_name = \"x\"\n local_bind_port = 1\n }\n }\n}\nsidecar_task {\n resources {\n cpu = 9\n }\n}",
		"gateway": "gateway {\n ingress {\n listener {\n port = 1\n protocol = \"tcp\"\n service {\n name = \"x\"\n }\n }\n }\n}",
		"native":  "native = true",
	} {
		job := jobOf("", bridge+"service {\n name = \"api\"\n port = \"80\"\n connect {\n"+connect+"\n}\n}", "")
		j := corpusJob{place: "job.hcl", dir: ".", text: []byte(job)}
		must.NoError(t, j.keeps(c, with("anywhere", "viewer")), must.Sprint(name))
		// Its provider is consul, so that one of Nomad's own cannot stand beside it.
		var r *refusal
		must.True(t, errors.As(j.keeps(c, with("ports")), &r), must.Sprint(name))
		must.Eq(t, "Two service providers", r.summary)
	}
}

// dynamicJobs returns jobs with parts that dynamic blocks generate, one for each element of LIST.
func dynamicJobs() map[string]string {
	of := func(kind, content string) string {
		return "dynamic \"" + kind + "\" {\n for_each = LIST\n content {\n" + content + "\n}\n}\n"
	}
	named := func(kind, content string) string {
		return strings.Replace(of(kind, content), "LIST\n", "LIST\n labels = [\"a-${"+kind+".value}\"]\n", 1)
	}
	app := "task \"app\" {\n driver = \"pod\"\n}\n"
	return map[string]string{
		"env":            jobOf("", bridge, of("env", "A = env.value\nB = \"${env.key}-${NOMAD_TASK_DIR}\"")),
		"env clash":      jobOf("", bridge, of("env", "ONE = env.value")),
		"config":         jobOf("", bridge, of("config", "image = config.value\nshare = [\"ipc\"]")),
		"in config":      jobOf("", bridge, "config {\n image = \"x\"\n"+of("mount", "type = \"bind\"")+"}"),
		"meta":           jobOf("", bridge+of("meta", "team = meta.value"), of("meta", "x = meta.value")),
		"choice by meta": jobOf("", bridge+"meta = { for i in LIST : \"sidecar.inject\" => \"viewer\"... }", ""),
		"logs":           jobOf("", bridge, of("logs", "max_files = 3")),
		"service":        jobOf("", bridge+of("service", "name = service.value\nprovider = \"nomad\""), of("service", "name = \"t-${service.value}\"\nprovider = \"nomad\"")),
		"service clash":  jobOf("", bridge+of("service", "name = service.value\nprovider = \"consul\""), ""),
		"network":        jobOf("", of("network", "mode = \"bridge\"\nport \"p\" {\n to = 80\n}"), ""),
		"port":           jobOf("", "network {\n mode = \"bridge\"\n"+named("port", "to = 80 + port.key")+"}\n", ""),
		"port clash":     jobOf("", "network {\n mode = \"bridge\"\n"+named("port", "to = 9001")+"}\n", ""),
		"static port":    jobOf("", "network {\n mode = \"bridge\"\n port \"first\" {}\n"+named("port", "static = 80 + port.key")+" port \"last\" {}\n}\n", ""),
		"volume":         jobOf("", bridge+named("volume", "type = \"host\"\nsource = \"s\""), ""),
		"mount":          jobOf("", bridge+"volume \"v\" {\n type = \"host\"\n source = \"s\"\n}", of("volume_mount", "volume = \"v\"\ndestination = \"/${volume_mount.value}\"")),
		"template":       jobOf("", bridge, of("template", "data = template.value\ndestination = \"local/${template.value}\"")),
		"template clash": jobOf("", bridge, of("template", "data = template.value\ndestination = \"local/anywhere\"")),
		"disk":           jobOf("", bridge+of("ephemeral_disk", "size = 600"), ""),
		"vault":          jobOf(of("vault", "role = vault.value"), bridge, ""),
		"task":           jobOf("", bridge+named("task", "driver = \"pod\"\nenv {\n A = task.value\n}"), ""),
		"task of a job":  "job \"j\" {\n" + named("task", "driver = \"pod\"") + " group \"g\" {\n" + app + "}\n}\n",
		"group":          "job \"j\" {\n" + named("group", "count = group.key + 1\n"+bridge+app) + "}\n",
		"group and more": "job \"j\" {\n group \"b\" {\n" + bridge + app + "}\n" + named("group", bridge+"task \"app\" {\n driver = \"pod\"\n"+
			strings.Replace(of("env", "A = \"${e.value}${group.value}\""), "content", "iterator = e\n content", 1)+"}") + "}\n",
		"nested":   "job \"j\" {\n" + named("group", bridge+named("task", "driver = \"pod\"\nuser = group.value\n"+of("env", "A = \"${group.value}${task.value}${env.value}\""))) + "}\n",
		"iterator": "job \"j\" {\n" + strings.NewReplacer("content", "iterator = node\n content", "group.value", "node.value").Replace(named("group", bridge+app)) + "}\n",
	}
}

// TestInject_DynamicBlocks: both forms give the same job, or the text is refused with a reason.
func TestInject_DynamicBlocks(t *testing.T) {
	c := loadCatalog(t)
	edited, refused := 0, map[string]int{}
	for name, text := range dynamicJobs() {
		for _, list := range []string{`[]`, `["x"]`, `["x", "y"]`, `{ k = "x" }`, `toset(["x"])`, `var.list`} {
			if strings.Contains(text, ".key + ") || strings.Contains(text, "+ port.key") {
				list = strings.NewReplacer(`{ k = "x" }`, `["x"]`, `toset(["x"])`, `["x"]`).Replace(list)
			}
			for _, flags := range []templater.Flags{with(), with("anywhere"), with("ports"), with("viewer"), with("anywhere", "awkward", "ports", "viewer")} {
				j := corpusJob{place: "job.hcl", dir: ".", text: []byte("variable \"list\" {}\n" + strings.ReplaceAll(text, "LIST", list))}
				f := parseHCL(t, j.text)
				in, diags := templater.Inject(f, c, flags)
				if !diags.HasErrors() {
					back, diags := hcljob.Eject(in.Output, "job.hcl")
					must.False(t, diags.HasErrors(), must.Sprint(diags))
					must.Eq(t, string(j.text), string(back))
				}
				if list == "var.list" {
					must.True(t, !diags.HasErrors() || diagnostic.HasUnknown(diags) || strings.Contains(diags.Error(), "Duplicate"), must.Sprint(name, diags))
					continue
				}
				raw, err := j.byNomad(j.text)
				if err != nil {
					continue // two blocks where Nomad takes one
				}
				src, err := json.Marshal(raw)
				must.NoError(t, err)
				parsed, wantDiags := templater.Inject(parseJSON(t, src, c), c, flags)
				switch {
				case !diags.HasErrors():
					edited++
					must.False(t, wantDiags.HasErrors(), must.Sprintf("%s %s: %s\n%s", name, list, wantDiags, in.Output))
					want, err := j.byNomad(in.Output)
					must.NoError(t, err, must.Sprint(string(in.Output)))
					got := parsed.Output
					if name == "vault" { // only the text shows what each task inherits
						got = apply(t, parseJSON(t, src, c), in.Edits)
					}
					must.Eq(t, want, decode(t, got), must.Sprintf("%s %s\n%s", name, list, in.Output))
				case strings.Contains(diags.Error(), "Cannot inject here"):
					refused[name]++
					must.True(t, strings.Contains(diags.Error(), `dynamic "`) || name == "task of a job", must.Sprint(diags))
					must.StrContains(t, diags.Error(), "-out json")
				case strings.Contains(diags.Error(), "Cannot edit the job"):
					refused[name]++
				default:
					must.Eq(t, wantDiags[0].Summary, diags[0].Summary, must.Sprint(name, list))
				}
			}
		}
	}
	t.Logf("%d the same in both forms, refused as text: %v", edited, refused)
	for _, name := range []string{"env", "config", "service", "port", "volume", "template", "logs", "meta"} {
		must.Zero(t, refused[name], must.Sprint(name))
	}
	must.Positive(t, refused["group"])
	must.Greater(t, refused["group"], refused["iterator"]) // awkward refers to node
}

// TestInject_GroupWithoutTask: a sidecar does not turn a group that Nomad refuses into one that it
// accepts. Nomad adds tasks for connect blocks itself.
func TestInject_GroupWithoutTask(t *testing.T) {
	c := loadCatalog(t)
	job := func(inGroup string) []byte {
		return []byte("job \"j\" {\n group \"g\" {\n" + bridge + inGroup + "}\n}\n")
	}
	gateway := job("service {\n name = \"x\"\n port = 80\n connect {\n gateway {\n ingress {}\n}\n}\n}\n")
	for _, without := range [][]byte{job(""), job("service {\n name = \"x\"\n}\n")} {
		raw, diags := parseHCL(t, without).JSON()
		must.False(t, diags.HasErrors())
		for _, d := range []templater.Document{parseHCL(t, without), parseJSON(t, raw, c)} {
			_, diags := templater.Inject(d, c, with("viewer"))
			must.StrContains(t, diags.Error(), "Group without a task")
			in, diags := templater.Inject(d, c, templater.Flags{})
			must.False(t, diags.HasErrors() || len(in.Edits) > 0)
		}
	}
	raw, diags := parseHCL(t, gateway).JSON()
	must.False(t, diags.HasErrors())
	for _, d := range []templater.Document{parseHCL(t, gateway), parseJSON(t, raw, c)} {
		_, diags := templater.Inject(d, c, with("anywhere"))
		must.False(t, diags.HasErrors(), must.Sprint(diags))
	}
}

// TestInject_DynamicGroupWithoutChoice: what no choice concerns is no obstacle.
func TestInject_DynamicGroupWithoutChoice(t *testing.T) {
	src := "variable \"l\" {}\njob \"j\" {\n dynamic \"group\" {\n for_each = var.l\n labels = [group.value]\n content {\nMETA\n}\n}\n}\n"
	c := loadCatalog(t)
	f := parseHCL(t, []byte(strings.Replace(src, "META", "meta = { x = group.value }", 1)))
	must.Len(t, 0, plan(t, f.Job(), c, templater.Flags{}))
	for _, choice := range []string{`meta = { "sidecar.inject" = "viewer" }`, `meta = { (group.value) = "viewer" }`, `sidecar "viewer" {}`} {
		_, diags := templater.Inject(parseHCL(t, []byte(strings.Replace(src, "META", choice, 1))), c, templater.Flags{})
		must.True(t, diagnostic.HasUnknown(diags), must.Sprint(choice, diags))
		must.StrContains(t, diags.Error(), `dynamic "group" with var.l. Give -var l=…`)
	}
}

// Names tell the groups of a job apart, and the tasks of a group.
func TestAJobWithTwoOfOneNameIsRefused(t *testing.T) {
	c := loadCatalog(t)
	task := `{"Name":"app","Driver":"pod"}`
	for _, src := range []string{
		`{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[` + task + `]},{"Name":"g","Tasks":[` + task + `]}]}`,
		`{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[` + task + `,` + task + `]}]}`,
	} {
		f, diags := jsonjob.Parse([]byte(src), "job.json", c)
		must.False(t, diags.HasErrors())
		_, err := editsOf(f.Job(), c, with("anywhere"))
		must.ErrorContains(t, err, "Duplicate name")
		must.Eq(t, 1, strings.Count(err.Error(), "Rename"))
		must.ErrorContains(t, err, "Rename one of the two")
	}
}

// Nomad wants the destinations of a task's templates to differ, and two mounts at one
// place would hide one another.
func TestDestinationsAreNotTakenTwice(t *testing.T) {
	c := loadCatalog(t)
	for block, source := range map[string]string{"template": "data = \"x\"", "volume_mount": "volume = \"v\""} {
		destination := map[string]string{"template": "./local/anywhere", "volume_mount": "/anywhere/"}[block]
		inTask := func(at string) string { return block + " {\n" + source + "\ndestination = \"" + at + "\"\n}" }
		j := corpusJob{place: "job.hcl", dir: ".", text: []byte(jobOf("", "volume \"v\" {\n type = \"host\"\n source = \"v\"\n}", inTask(destination)))}
		parsed, err := j.byNomad(j.text)
		must.NoError(t, err)
		raw, err := json.Marshal(parsed)
		must.NoError(t, err)
		_, asText := j.keepsText(c, with("anywhere"))
		_, asJSON := keepsJSON(raw, "job.json", c, with("anywhere"))
		for _, err := range []error{asText, asJSON} {
			must.ErrorContains(t, err, "Destination taken: Sidecar \"anywhere\" adds a "+block)
			must.ErrorContains(t, err, `but task "app" (job.`)
		}
		j.text = []byte(strings.ReplaceAll(string(j.text), destination, "/other"))
		must.NoError(t, j.keeps(c, with("anywhere")))
	}
}
