package templater_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/shoenig/test/must"
	"pgregory.net/rapid"
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
		for _, key := range sortedKeys(v) {
			respell(t, v[key])
		}
	}
}

func TestTrap22EjectRestoresTheJSON(t *testing.T) {
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

// Any other layout may lose the white space inside of containers that are empty,
// and the spelling of a list that was added to; nothing else.
func TestTrap22EjectOfAnOddLayout(t *testing.T) {
	c := loadCatalog(t)
	src, err := os.ReadFile("testdata/odd.json")
	must.NoError(t, err)
	f, diags := jsonjob.Parse(src, "odd.json", c)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	out := inject(t, f, c, with("awkward", "ports", "viewer"))
	must.NotEq(t, string(src), string(out))
	equal(t, decode(t, src), decode(t, apply(t, parseJSON(t, out, c), nil)))
}
