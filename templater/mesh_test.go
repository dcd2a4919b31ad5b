package templater_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

func meshPolicy(t must.T, text string) templater.Policy {
	p := &policy.Policy{}
	diags := p.Add([]byte(text), "mesh.policy.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return p
}

func meshCatalog(t must.T) *sidecar.Catalog {
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"edge.sidecar.hcl": {Data: []byte(meshSidecar)}}, "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return c
}

// carried injects into a document with all phases.
func carried(t must.T, d templater.Document, c *sidecar.Catalog, flags templater.Flags) []byte {
	in, diags := templater.Inject(d, c, flags)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return in.Output
}

// proxyOf returns the task that a server stores for the service's connect block.
func proxyOf(t must.T, raw []byte) *api.Task {
	var request struct{ Job *api.Job }
	must.NoError(t, json.Unmarshal(raw, &request))
	for _, task := range request.Job.TaskGroups[0].Tasks {
		if task.Kind != "" {
			return task
		}
	}
	return nil
}

// sidecarTasks are ways to write a sidecar_task without a driver.
func sidecarTasks() map[string]string {
	return map[string]string{
		"none": "", "empty": "sidecar_task {}", "one line": `sidecar_task { user = "envoy" }`, "empty driver": `sidecar_task { driver = "" }`,
		"empty driver on a line": "sidecar_task {\n driver = \"\" # none\n user = \"envoy\"\n }",
		"resources":              "sidecar_task {\n resources {\n cpu = 50\n }\n }",
		"meta":                   "sidecar_task {\n meta {\n team = \"mesh\" # ours\n }\n }",
		"empty blocks":           "sidecar_task {\n config {}\n meta {}\n }",
		"image":                  "sidecar_task {\n name = \"envoy\"\n config {\n image = \"example.com/envoy:1\"\n }\n }",
		"whole config":           "sidecar_task {\n config {\n image = \"example.com/envoy:1\"\n args = [\"-x\"]\n auth_soft_fail = true\n }\n }",
	}
}

// With a rule, a job file, its JSON and its stored form lead to one stored job, whose proxy runs
// under the pod driver with an image and arguments. Eject restores each of them.
func TestConnect_OneJob(t *testing.T) {
	c := meshCatalog(t)
	rule := meshPolicy(t, `rule "mesh" { connect = "pod" }`)
	for kind, block := range map[string]string{
		"sidecar": "sidecar_service {}", "ingress": "gateway {\n ingress {}\n }", "terminating": "gateway {\n terminating {}\n }", "mesh": "gateway {\n mesh {}\n }",
	} {
		for name, sidecarTask := range sidecarTasks() {
			flags := templater.Flags{Policy: rule}
			if kind == "sidecar" { // the others do not depend on it
				flags.With = with("edge").With
			}
			src := fmt.Sprintf(connectJob, block+"\n"+sidecarTask, "")
			if kind == "mesh" {
				src = strings.ReplaceAll(src, "\n", "\r\n")
			}
			t.Run(kind+"/"+name, func(t *testing.T) { oneMeshJob(t, []byte(src), c, flags) })
			if host := strings.Replace(src, `mode = "bridge"`, `mode = "host"`, 1); kind == "ingress" {
				must.NotEq(t, src, host)
				t.Run(kind+"/host/"+name, func(t *testing.T) { oneMeshJob(t, []byte(host), c, flags) })
			}
		}
	}
}

func oneMeshJob(t *testing.T, src []byte, c *sidecar.Catalog, flags templater.Flags) {
	t.Helper()
	f := parseHCL(t, src)
	plain, diags := f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))

	injected := carried(t, f, c, flags)
	must.Eq(t, string(injected), string(carried(t, parseHCL(t, injected), c, flags)))
	back, diags := hcljob.Eject(injected, "job.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, string(src), string(back))

	want, err := json.Marshal(nomad(t, injected))
	must.NoError(t, err)
	stored := registered(t, want)
	without := flags
	without.Policy = nil
	plainStored := registered(t, carried(t, parseJSON(t, plain, c), c, without))
	for _, in := range [][]byte{plain, canonical(t, plain), registered(t, plain)} {
		out := carried(t, parseJSON(t, in, c), c, flags)
		if !bytes.Contains(src, []byte("meta {}")) || bytes.Equal(in, plain) { // a server spells empty maps as null
			must.Eq(t, string(stored), string(registered(t, out)))
		}
		must.Eq(t, string(out), string(carried(t, parseJSON(t, out, c), c, flags)))
		must.Eq(t, string(in), string(apply(t, parseJSON(t, out, c), nil)))
	}
	equal(t, decode(t, want), decode(t, carried(t, parseJSON(t, plain, c), c, flags)))
	for range 3 {
		must.Eq(t, string(stored), string(registered(t, carried(t, parseJSON(t, stored, c), c, flags))))
	}
	ejected := registered(t, apply(t, parseJSON(t, stored, c), nil))
	must.Eq(t, string(registered(t, plain)), string(ejected))
	must.NotEq(t, string(plainStored), string(stored))

	task := proxyOf(t, stored)
	must.Eq(t, "pod", task.Driver)
	must.MapContainsKeys(t, task.Config, []string{"image", "args"})
	if bytes.Contains(src, []byte(`"host"`)) {
		must.Eq(t, "host", task.Config["network_mode"])
	}
	must.Eq(t, "docker", proxyOf(t, plainStored).Driver)
}

// A proxy in a job file is changed as the one that a server added.
func TestConnect_OwnProxyTask(t *testing.T) {
	c := meshCatalog(t)
	flags := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	for name, rest := range map[string]string{
		"plain": "config {\n image = \"x\"\n }", "meta block": "meta {\n a = \"b\"\n }", "meta": `meta = { "a.b" = "c" }`,
	} {
		t.Run(name, func(t *testing.T) {
			src := []byte(fmt.Sprintf(connectJob, "sidecar_service {}", "task \"envoy\" {\n kind = \"connect-proxy:shop-api\"\n driver = \"docker\" # by hand\n "+rest+"\n }"))
			f := parseHCL(t, src)
			plain, diags := f.JSON()
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			out := carried(t, f, c, flags)
			back, diags := hcljob.Eject(out, "job.hcl")
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			must.Eq(t, string(src), string(back))
			raw := carried(t, parseJSON(t, plain, c), c, flags)
			equal(t, nomad(t, out), decode(t, raw))
			must.Eq(t, "pod", proxyOf(t, raw).Driver)
			must.Eq(t, string(plain), string(apply(t, parseJSON(t, raw, c), nil)))
		})
	}
}

// Without a policy a driver that was injected stays, and with a policy without the rule it goes.
func TestConnect_WithoutRule(t *testing.T) {
	c := meshCatalog(t)
	f := parseHCL(t, []byte(fmt.Sprintf(connectJob, "sidecar_service {}", "")))
	plain, diags := f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	rule := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	text, raw := carried(t, f, c, rule), registered(t, carried(t, parseJSON(t, plain, c), c, rule))

	must.Eq(t, string(text), string(carried(t, parseHCL(t, text), c, templater.Flags{})))
	must.Eq(t, string(raw), string(registered(t, carried(t, parseJSON(t, raw, c), c, templater.Flags{}))))

	other := templater.Flags{Policy: meshPolicy(t, "rule \"other\" {\n match { job = [\"none\"] }\n connect = \"pod\"\n}")}
	must.Eq(t, fmt.Sprintf(connectJob, "sidecar_service {}", ""), string(carried(t, parseHCL(t, text), c, other)))
	must.Eq(t, string(registered(t, plain)), string(registered(t, carried(t, parseJSON(t, raw, c), c, other))))
}

// Proxies that cannot or must not change stay, in both forms, and those that cannot change get a
// warning.
func TestConnect_Unchanged(t *testing.T) {
	c := meshCatalog(t)
	flags := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	job := func(network, connect, task string) string {
		return "job \"j\" {\n group \"g\" {\n " + network + "\n service {\n name = \"s\"\n port = \"80\"\n connect {\n " + connect + "\n }\n }\n task \"t\" {\n " + task + "\n }\n }\n}\n"
	}
	const bridge, pod = "network {\n mode = \"bridge\"\n }", `driver = "pod"`
	for name, tc := range map[string]struct{ src, warning string }{
		"own driver":   {job(bridge, "sidecar_service {}\n sidecar_task { driver = \"docker\" }", pod), ""},
		"native":       {job(bridge, "native = true", pod), ""},
		"docker":       {job(bridge, "sidecar_service {}", `driver = "docker"`), ""},
		"mixed":        {job(bridge+"\n task \"u\" {\n driver = \"exec\"\n }", "sidecar_service {}", pod), `task "u" of the group has driver "exec"`},
		"host":         {job("network {\n mode = \"host\"\n }", "sidecar_service {}", pod), `the group's network has mode "host", in which Nomad allows only gateways`},
		"default mode": {job("network {}", "sidecar_service {}", pod), `the group's network has mode "host"`},
		"none":         {job("network {\n mode = \"none\"\n }", "gateway {\n mesh {}\n }", pod), `the group's network has mode "none", not "bridge", "host" or "cni/…"`},
		"no network":   {job("", "sidecar_service {}", pod), `the group has no network block`},
	} {
		t.Run(name, func(t *testing.T) {
			f := parseHCL(t, []byte(tc.src))
			plain, diags := f.JSON()
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			for src, doc := range map[string]templater.Document{tc.src: f, string(plain): parseJSON(t, plain, c)} {
				in, diags := templater.Inject(doc, c, flags)
				must.Eq(t, src, string(in.Output))
				if tc.warning == "" {
					must.SliceEmpty(t, diags)
					continue
				}
				must.SliceLen(t, 1, diags)
				must.Eq(t, hcl.DiagWarning, diags[0].Severity)
				must.StrContains(t, diags[0].Detail, tc.warning)
			}
		})
	}
}

// A value that the choice depends on must be known.
func TestConnect_Unknown(t *testing.T) {
	c := meshCatalog(t)
	flags := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	for name, src := range map[string]string{
		"driver of a task":  "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n service {\n connect {\n sidecar_service {}\n }\n }\n task \"t\" {\n driver = var.d\n }\n }\n}\n",
		"driver of a proxy": "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n service {\n connect {\n sidecar_service {}\n sidecar_task {\n driver = var.d\n }\n }\n }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n",
		"network":           "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = var.d\n }\n service {\n connect {\n sidecar_service {}\n }\n }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n",
		"services":          "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n dynamic \"service\" {\n for_each = var.d\n content {}\n }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n",
		"name":              "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n service {\n name = var.d\n connect {\n sidecar_service {}\n }\n }\n task \"t\" {\n driver = \"pod\"\n }\n task \"envoy\" {\n kind = \"connect-proxy:x\"\n driver = \"docker\"\n }\n }\n}\n",
		"connect":           "variable \"d\" {}\njob \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n service {\n dynamic \"connect\" {\n for_each = var.d\n content {}\n }\n }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := templater.Inject(parseHCL(t, []byte(src)), c, flags)
			must.True(t, diags.HasErrors())
			must.StrContains(t, diags.Error(), "var.d")
			must.StrContains(t, diags.Error(), `rule "mesh" of the policy sets to "pod"`)
		})
	}
}

// Services of one text cannot be edited apart, but as JSON.
func TestConnect_DynamicServices(t *testing.T) {
	c := meshCatalog(t)
	flags := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	file := func(names string) *hcljob.File {
		return parseHCL(t, []byte("job \"j\" {\n group \"g\" {\n network {\n mode = \"bridge\"\n }\n dynamic \"service\" {\n for_each = "+names+"\n content {\n name = service.value\n connect {\n sidecar_service {}\n }\n }\n }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n"))
	}
	_, diags := templater.Inject(file(`["a", "b"]`), c, flags)
	must.True(t, diags.HasErrors())
	must.StrContains(t, diags.Error(), `the proxy of service "a" in group "g" runs under driver "pod", but the group has dynamic "service"`)
	must.StrContains(t, diags.Error(), "Use -out json")
	raw, diags := file(`["a", "b"]`).JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, 2, bytes.Count(carried(t, parseJSON(t, raw, c), c, flags), []byte("sidecar_connect")))

	out := carried(t, file(`["a"]`), c, flags)
	raw, diags = file(`["a"]`).JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	equal(t, nomad(t, out), decode(t, carried(t, parseJSON(t, raw, c), c, flags)))
}

// Changes that an author made to an injected sidecar_task stay when it is ejected.
func TestConnect_EjectKeepsEdits(t *testing.T) {
	c := meshCatalog(t)
	flags := templater.Flags{Policy: meshPolicy(t, `rule "mesh" { connect = "pod" }`)}
	plain, diags := parseHCL(t, []byte(fmt.Sprintf(connectJob, "sidecar_service {}", ""))).JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	stored := registered(t, carried(t, parseJSON(t, plain, c), c, flags))
	edited := func(change func(*api.SidecarTask)) []byte {
		var request struct{ Job *api.Job }
		must.NoError(t, json.Unmarshal(stored, &request))
		change(request.Job.TaskGroups[0].Services[0].Connect.SidecarTask)
		raw, err := json.Marshal(request)
		must.NoError(t, err)
		return raw
	}
	sidecarTask := func(raw []byte) *api.SidecarTask {
		var request struct{ Job *api.Job }
		must.NoError(t, json.Unmarshal(raw, &request))
		return request.Job.TaskGroups[0].Services[0].Connect.SidecarTask
	}

	image := edited(func(s *api.SidecarTask) { s.Config["image"] = "mine" })
	got := sidecarTask(apply(t, parseJSON(t, image, c), nil))
	must.Eq(t, map[string]any{"image": "mine"}, got.Config)
	must.Eq(t, "", got.Driver)
	again := sidecarTask(carried(t, parseJSON(t, image, c), c, flags))
	must.Eq(t, "pod", again.Driver)
	must.Eq(t, any("mine"), again.Config["image"])
	must.MapContainsKey(t, again.Config, "args")

	newer := bytes.Replace(stored, []byte(`"SidecarTask":{`), []byte(`"SidecarTask":{"FieldOfANewerNomad":7,`), 1)
	equal(t, decode(t, newer), decode(t, carried(t, parseJSON(t, newer, c), c, flags)))
	must.StrContains(t, string(apply(t, parseJSON(t, newer, c), nil)), `"SidecarTask":{"FieldOfANewerNomad":7,`)

	driver := edited(func(s *api.SidecarTask) { s.Driver = "exec" })
	must.Eq(t, string(driver), string(apply(t, parseJSON(t, driver, c), nil)))
	must.Eq(t, string(driver), string(carried(t, parseJSON(t, driver, c), c, flags)))

	forged := edited(func(s *api.SidecarTask) { s.Meta["sidecar_connect"] = `{"task":true,"more":1}` })
	must.Eq(t, string(forged), string(apply(t, parseJSON(t, forged, c), nil)))
}
