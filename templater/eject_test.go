package templater_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// containers are the fields of groups, tasks and networks that injection fills.
func containers() []string {
	return []string{"Env", "Config", "Templates", "VolumeMounts", "Services", "Volumes", "DynamicPorts"}
}

// respell draws for each container that holds nothing one of the ways to spell
// that: null, absent, empty.
func respell(t *rapid.T, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			respell(t, e)
		}
	case map[string]any:
		for _, field := range containers() {
			was, ok := v[field]
			if m, isMap := was.(map[string]any); !ok || (was != nil && !(isMap && len(m) == 0)) {
				continue
			}
			switch rapid.SampledFrom([]string{"null", "absent", "empty"}).Draw(t, field) {
			case "null":
				v[field] = nil
			case "absent":
				delete(v, field)
			case "empty":
				v[field] = []any{}
				if field == "Env" || field == "Config" || field == "Volumes" {
					v[field] = map[string]any{}
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			respell(t, v[key])
		}
	}
}

// Trap I22.
func TestEject_RestoresJSON(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		raw, diags := parseHCL(t, []byte(drawJob(t, false))).JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		tree := decode(t, raw)
		respell(t, tree)
		src, err := json.Marshal(tree)
		must.NoError(t, err)
		if rapid.Bool().Draw(t, "pretty") {
			src, err = json.MarshalIndent(tree, "", "  ")
			must.NoError(t, err)
		}
		out := inject(t, parseJSON(t, src, c), c, drawFlags(t))
		must.Eq(t, string(src), string(apply(t, parseJSON(t, out, c), nil)))
	})
}

// So it does in any other layout, but for line ends inside of empty containers that
// are those of the rest of the file.
// Trap I22.
func TestEject_UnusualLayout(t *testing.T) {
	c := loadCatalog(t)
	src, err := os.ReadFile("testdata/odd.json")
	must.NoError(t, err)
	f, diags := jsonjob.Parse(src, "odd.json", c)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	out := inject(t, f, c, with("awkward", "ports", "viewer"))
	must.NotEq(t, string(src), string(out))
	must.Eq(t, string(src), string(apply(t, parseJSON(t, out, c), nil)))
}

// What somebody adds to a job after injection is theirs, wherever in a list it
// stands, and stays when the sidecars are taken out.
// Trap I22.
func TestEject_KeepsLaterAdditions(t *testing.T) {
	c := loadCatalog(t)
	raw, diags := parseHCL(t, []byte(fullJob)).JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	injected := decode(t, inject(t, parseJSON(t, raw, c), c, with("awkward", "ports", "viewer")))
	before, after := groupOf(decode(t, raw)), groupOf(injected)
	add := func(in map[string]any, field string, first bool, v any) {
		list, _ := in[field].([]any)
		if first {
			in[field] = append([]any{v}, list...)
		} else {
			in[field] = append(list, v)
		}
	}
	for _, g := range []map[string]any{before, after} {
		app := find(t, g["Tasks"], "app")
		config := app["Config"].(map[string]any)
		add(app, "Templates", false, map[string]any{"DestPath": "local/theirs", "EmbeddedTmpl": "x"})
		add(app, "VolumeMounts", false, map[string]any{"Volume": "data", "Destination": "/theirs"})
		add(app, "VolumeMounts", true, map[string]any{"Volume": "data", "Destination": "/first"})
		add(config, "dns", false, "4.4.4.4")
		add(g, "Services", false, map[string]any{"Name": "ports", "PortLabel": "http", "Provider": "nomad"})
		add(g["Networks"].([]any)[0].(map[string]any), "DynamicPorts", false, map[string]any{"Label": "theirs"})
		app["Env"].(map[string]any)["THEIRS"] = "yes"
		g["Volumes"].(map[string]any)["theirs"] = map[string]any{"Type": "host"}
	}
	src, err := json.Marshal(injected)
	must.NoError(t, err)
	equal(t, before, groupOf(decode(t, apply(t, parseJSON(t, src, c), nil))))
}

// Nomad completes the names of services with the job's name, which need not be its
// id, when it registers the job.
// Trap I22.
func TestEject_ServiceNamedAfterJob(t *testing.T) {
	c := loadCatalog(t)
	for job, name := range map[string]string{`"ID":"j","Name":"its name"`: "its name", `"ID":"j"`: "j"} {
		src := `{` + job + `,"TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"pod"}]}]}`
		out := string(inject(t, parseJSON(t, []byte(src), c), c, with("named")))
		must.StrContains(t, out, `"${JOB}-named"`)
		registered := strings.Replace(out, `"${JOB}-named"`, `"`+name+`-named"`, 1)
		must.Eq(t, src, string(apply(t, parseJSON(t, []byte(registered), c), nil)))
	}
}

// A list that injection made goes with it, unless somebody else put something there.
// Trap I22.
func TestEject_RemovesAddedList(t *testing.T) {
	c := loadCatalog(t)
	src := `{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"pod"}]}]}`
	out := string(inject(t, parseJSON(t, []byte(src), c), c, with("awkward")))
	must.Eq(t, src, string(apply(t, parseJSON(t, []byte(out), c), nil)))
	out = strings.Replace(out, `"dns":["1.1.1.1",`, `"dns":["4.4.4.4","1.1.1.1",`, 1)
	must.Eq(t, strings.Replace(src, `"pod"`, `"pod","Config":{"dns":["4.4.4.4"]}`, 1), string(apply(t, parseJSON(t, []byte(out), c), nil)))
}
