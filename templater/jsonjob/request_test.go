package jsonjob

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// decodeAsNomad reads a body as Nomad's agent does (command/agent/http.go, decodeBody).
func decodeAsNomad(src []byte) (*api.Job, error) {
	var req api.JobRegisterRequest
	out := any(&req)
	if err := json.NewDecoder(bytes.NewReader(src)).Decode(&out); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, nil // null
	}
	return req.Job, nil
}

// summary is what choosing sidecars depends on, as Nomad sees it.
func summary(j *api.Job) string {
	out := fmt.Sprintf("%q %q %q %v\n", deref(j.ID), deref(j.Type), deref(j.NodePool), sortedPairs(j.Meta))
	for _, g := range j.TaskGroups {
		if g == nil {
			continue
		}
		out += fmt.Sprintf(" %q %v\n", deref(g.Name), sortedPairs(g.Meta))
		for _, n := range g.Networks {
			if n != nil {
				out += fmt.Sprintf("  network %q\n", cmp.Or(n.Mode, "host"))
			}
		}
		for _, t := range g.Tasks {
			if t != nil {
				out += fmt.Sprintf("  %q %q %v\n", t.Name, t.Driver, sortedPairs(t.Meta))
			}
		}
	}
	return out
}

// seen is summary for the view of the same job.
func seen(j *job.Job) string {
	out := fmt.Sprintf("%q %q %q %v\n", j.ID.Value, j.Type.Value, j.NodePool.Value, pairsOf(j.Meta))
	for _, g := range j.Groups {
		out += fmt.Sprintf(" %q %v\n", g.Name, pairsOf(g.Meta))
		for _, n := range g.Networks {
			out += fmt.Sprintf("  network %q\n", n.Mode.Value)
		}
		for _, t := range g.Tasks {
			out += fmt.Sprintf("  %q %q %v\n", t.Name, t.Driver.Value, pairsOf(t.Meta))
		}
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func sortedPairs(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, fmt.Sprintf("%q=%q", k, v))
	}
	slices.Sort(out)
	return out
}

func pairsOf(m map[string]job.Text) []string {
	plain := map[string]string{}
	for k, v := range m {
		plain[k] = v.Value
	}
	return sortedPairs(plain)
}

// FuzzRequest shows that there is no job which Nomad sees in a body and we do not, nor
// the other way round, unless the body is refused.
func FuzzRequest(f *testing.F) {
	for _, s := range append(seeds(),
		`{"job":{"id":"a","taskgroups":[{"name":"g","networks":[{"mode":"bridge"}],"tasks":[{"name":"t","driver":"pod","meta":{"A":"1","a":"2"}}]}]}} {"Job":null}`,
		`{"Job":{"ID":"a","TaskGroups":[{"Name":"g"}]},"JOB":{"ID":"b"}}`, `{"Job":{"ID":"a","Type":null,"TaskGroups":[null,{}],"Meta":{"x":null}}}`,
		`null`, `{"Job":null}`, "{\"Job\":{\"ID\":\"a\",\"Ta\u017fkGroups\":[{\"Name\":\"g\",\"Ta\u017fks\":[{\"Name\":\"t\"}]}]}}",
		`{"Job":{"ID":"\ud800","TaskGroups":[{"Name":"g","Tasks":[{"Name":"a"}],"TASKS":[{}]}]}}`, "{\"Job\":{\"ID\":\"\xff\"}}",
	) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		j, err := decodeAsNomad(src)
		req, refused := ReadRequest(src)
		if err != nil || refused != nil {
			return // no job is run
		}
		must.Eq(t, j != nil, req.HasJob)
		if j == nil {
			return
		}
		must.Eq(t, deref(j.ID), req.ID)
		must.Eq(t, deref(j.Namespace), req.JobNamespace)
		if j.ID == nil && j.TaskGroups == nil {
			return // denied: there is no job without an ID
		}
		file, diags := Parse(src, "request", &sidecar.Catalog{})
		if diags.HasErrors() {
			return
		}
		canonical := *j
		fill := func(s *string, otherwise string) *string { v := cmp.Or(deref(s), otherwise); return &v }
		canonical.Type, canonical.NodePool = fill(j.Type, "service"), fill(j.NodePool, "default")
		must.Eq(t, summary(&canonical), seen(file.Job()))
	})
}

func TestRequestFile_Twice(t *testing.T) {
	text := "sidecar \"s\" {\n version = \"1.0.0\"\n task \"s\" {\n driver = \"docker\"\n}\n}\n"
	catalog := &sidecar.Catalog{}
	must.False(t, catalog.Load(fstest.MapFS{"s.sidecar.hcl": {Data: []byte(text)}}, "").HasErrors())
	marked := `{"Name":"s","Driver":"docker","Meta":{"sidecar.name":"s","sidecar.version":"1.0.0","sidecar.digest":"` + catalog.Find("s").Digest + `","sidecar.origin":"flag"}}`
	body := `{"Job":{"ID":"j","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"docker"},` + marked + `]}]}}`
	req, err := ReadRequest([]byte(body))
	must.NoError(t, err)
	for range 2 {
		file, diags := req.File("request", catalog, nil)
		must.False(t, diags.HasErrors())
		must.Len(t, 1, file.Marks())
		must.Len(t, 1, file.Job().Groups[0].Tasks)
		kept, diags := req.File("request", catalog, file.Marks())
		must.False(t, diags.HasErrors())
		must.Len(t, 1, kept.Job().Groups[0].Kept)
		out, diags := kept.Apply(nil)
		must.False(t, diags.HasErrors())
		must.Eq(t, body, string(out))
	}
}
