package templater_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
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

// What only evaluation can show is an error that names the block and the way out,
// and that way works.
func TestKindsOfDynamicBlocksAreRefused(t *testing.T) {
	c := loadCatalog(t)
	dynamic := func(kind, content string) string {
		return "dynamic \"" + kind + "\" {\n for_each = [\"x\"]\n labels = [" + kind + ".value]\n content {\n" + content + "\n}\n}\n"
	}
	service := strings.Replace(dynamic("service", "name = service.value\nprovider = \"nomad\""), "labels = [service.value]\n", "", 1)
	network := strings.Replace(dynamic("network", "mode = \"bridge\""), "labels = [network.value]\n", "", 1)
	for kind, job := range map[string]string{
		"group":   "job \"j\" {\n" + dynamic("group", bridge+"task \"app\" {\n driver = \"pod\"\n}") + "}\n",
		"task":    jobOf("", bridge+dynamic("task", "driver = \"pod\""), ""),
		"service": jobOf("", bridge+service, ""),
		"volume":  jobOf("", bridge+dynamic("volume", "type = \"host\""), ""),
		"network": jobOf("", network, ""),
		"port":    jobOf("", "network {\n mode = \"bridge\"\n"+dynamic("port", "to = 80")+"}\n", ""),
	} {
		t.Run(kind, func(t *testing.T) {
			j := corpusJob{place: "job.hcl", dir: ".", text: []byte(job)}
			_, err := j.keepsText(c, with("anywhere", "ports"))
			var r *refusal
			must.True(t, errors.As(err, &r), must.Sprint(err))
			must.Eq(t, "Cannot inject here", r.summary)
			must.StrContains(t, r.detail, fmt.Sprintf("dynamic %q", kind))
			must.StrContains(t, r.detail, "Use -out json")

			parsed, err := j.byNomad(j.text)
			must.NoError(t, err)
			raw, err := json.Marshal(parsed)
			must.NoError(t, err)
			out, err := keepsJSON(raw, "job.json", c, with("anywhere", "ports"))
			must.NoError(t, err)
			must.StrContains(t, string(out), `"sidecar.name":"ports"`)
		})
	}
	// Without a choice such a job stays as it is, in either form.
	f, diags := hcljob.Parse([]byte("job \"j\" {\n"+dynamic("group", "")+"}\n"), "job.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors())
	must.Len(t, 0, plan(t, f.Job(), c, templater.Flags{}))
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
