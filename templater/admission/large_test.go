package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// groupsOf returns the registration of a job with some groups of a task.
func groupsOf(n int, meta map[string]string) []byte {
	type object = map[string]any
	var groups []object
	for i := range n {
		groups = append(groups, object{"Name": fmt.Sprintf("g%d", i), "Tasks": []object{{"Name": "t", "Driver": "pod"}}})
	}
	body, err := json.Marshal(object{"Job": object{"ID": "web", "Meta": meta, "TaskGroups": groups}})
	if err != nil {
		panic(err) // plain maps and strings
	}
	return body
}

// A small body that would become a large job is refused.
func TestRules_LargeInjection(t *testing.T) {
	f := start(t, notePolicy)
	rules := f.proxy.InUse()
	for name, c := range map[string]struct {
		groups int
		meta   map[string]string
		denial string
	}{
		"at the limit":     {bounds.Sidecars, map[string]string{"noted": "yes"}, ""},
		"too many groups":  {bounds.Sidecars + 1, map[string]string{"noted": "yes"}, "gets more than 2048 sidecars"},
		"too large values": {100, map[string]string{"noted": "yes", "sidecar.note.text": strings.Repeat("x", bounds.AddedBytes/99)}, "add more than 32 MiB"},
	} {
		v := rules.inject(t.Context(), groupsOf(c.groups, c.meta), anywhere)
		if c.denial == "" {
			must.Nil(t, v.denial, must.Sprint(name))
			continue
		}
		must.NotNil(t, v.denial, must.Sprint(name))
		must.Eq(t, http.StatusForbidden, v.denial.status, must.Sprint(name))
		must.StrContains(t, v.denial.text, c.denial, must.Sprint(name))
	}
}

// The time of an injection is limited.
func TestRules_LateInjection(t *testing.T) {
	f := start(t, notePolicy)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, diags := f.proxy.InUse().choose(over, func(name string, catalog job.Catalog, keep []job.Marked) (*jsonjob.File, hcl.Diagnostics) {
		req, err := jsonjob.ReadRequest(groupsOf(1, nil))
		must.NoError(t, err)
		return req.File(name, catalog, keep)
	}, location{namespace: "default"})
	must.StrContains(t, diags.Error(), "Injection takes too long")
}
