package admission

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
)

// FuzzTreat checks trap I12: no request panics, and every job that Nomad would run has the sidecars
// that a rule requires, or is denied. Sending the result again does not change it.
func FuzzTreat(f *testing.F) {
	bridged := strings.Replace(jobNamed("web"), `"Tasks"`, `"Networks":[{"Mode":"bridge"}],"Tasks"`, 1)
	marked := string(rulesOf(f, notePolicy).treat(f.Context(), []byte(jobNamed("web")), anywhere).body)
	for _, s := range []string{
		jobNamed("web"), bridged, marked, strings.Replace(marked, `"policy"`, `"flag"`, 1), strings.ToLower(marked), marked + marked,
		`{"Job":{"ID":"web","TaskGroups":[null,{"Name":null,"Tasks":[null]},{"Tasks":{}}]}}`, `{"Job":{"ID":"web","TaskGroups":{}}}`,
		`{"Job":{"ID":"web","Meta":{"sidecar.inject":"other","sidecar.exclude":"*"},"TaskGroups":[{"Name":"g"}]}}`, `{"Job":[]}`, `[]`,
		string(rulesOf(f, defaultsPolicy).treat(f.Context(), []byte(jobNamed("web")), anywhere).body),
		`{"Job":{"Type":"batch","TaskGroups":[{"Constraints":[{"LTarget":"sidecar.defaults","Operand":"!=","RTarget":"{\"set\":{\"update\":{\"value\":{}}},\"bare\":{\"\":{\"Update\":\"absent\",\"Constraints\":\"empty\"}}}"}],"Update":{},"Tasks":[{"Name":"a"},{"Name":"a"}]}],"Version":1}}`,
		`{"JoB":{"TAskGroups":[{"TAsks":[{}]}]}}`, // a task without a name is not the group
		meshJob("pod"), string(rulesOf(f, meshRule).treat(f.Context(), []byte(meshJob("pod")), anywhere).body),
		strings.Replace(meshJob("pod"), `"Name":"other"`, `"Kind":"connect-proxy:web","Meta":{"sidecar_connect":"{}"},"Name":"other"`, 1),
	} {
		f.Add([]byte(s))
	}
	rules := rulesOf(f, "rule \"all\" {\n inject \"note\" {}\n required = true\n}\nrule \"some\" {\n inject \"other\" {}\n on_error = \"skip\"\n}\n"+meshRule+defaultsPolicy)
	f.Fuzz(func(t *testing.T, body []byte) {
		v := rules.treat(t.Context(), body, anywhere)
		var req api.JobRegisterRequest
		if v.denial != nil || json.NewDecoder(bytes.NewReader(v.body)).Decode(&req) != nil || req.Job == nil {
			return
		}
		for _, g := range req.Job.TaskGroups {
			if g != nil {
				must.Eq(t, 1, count(g, "note"), must.Sprint(string(v.body)))
			}
		}
		again := rules.treat(t.Context(), v.body, anywhere)
		must.Nil(t, again.denial)
		must.Eq(t, string(v.body), string(again.body))
	})
}

// FuzzParseRequest checks that no parse request panics, and that Nomad gets either the request itself
// or a file without sidecar blocks.
func FuzzParseRequest(f *testing.F) {
	for _, text := range []string{
		blocksJob, strings.ReplaceAll(blocksJob, "\n", "\r\n"), "sidecar", "job \"a\" {\n  sidecar \"note\" {}\n}\n",
		"job \"a\" {\n  dynamic \"group\" {\n    for_each = [1]\n    labels   = [\"g\"]\n    content {\n      sidecar \"note\" {}\n    }\n  }\n}\n",
	} {
		f.Add([]byte(`{"JobHCL":`+quoted(text)+`,"Variables":"note = 1"}`), []byte(jobNamed("web")))
	}
	f.Add([]byte(`{"JobHCL":"job \"a\" {\n  sidecar \"note\" {}\n}\n","jobhcl":"sidecar"} x`), []byte(`{"ID":"a","TaskGroups":[null]}`))
	rules := rulesOf(f, "")
	f.Fuzz(func(t *testing.T, body, answer []byte) {
		v := rules.withoutBlocks(body)
		if v.parsing == nil {
			must.True(t, v.denial != nil || string(body) == string(v.body))
			return
		}
		var sent parseFields
		must.NoError(t, json.Unmarshal(v.body, &sent))
		file, diags := hcljob.Parse([]byte(sent.JobHCL), parsedName, hcljob.Inputs{VarText: sent.Variables})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.False(t, file.HasSidecars())
		v.parsing.inject(t.Context(), v, answer)
	})
}

func count(g *api.TaskGroup, task string) int {
	n := 0
	for _, t := range g.Tasks {
		if t != nil && t.Name == task && t.Meta["sidecar.name"] == task && t.Config["command"] == "true" {
			n++
		}
	}
	return n
}
