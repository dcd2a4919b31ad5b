package policy

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

const validated = "\n validation {\n condition = false\n error_message = \"denied\"\n}\n}\n"

func TestRequestMatch(t *testing.T) {
	who := &job.Requester{Accessor: "a-1", Policies: []string{"dev", "ops-eu"}, Roles: []string{"on-call"}, Client: "10.1.2.3"}
	for text, want := range map[string]bool{
		``:                   true,
		`accessor = ["a-*"]`: true, `accessor = ["b"]`: false,
		`policies = ["ops-*"]`: true, `policies = ["ops"]`: false,
		`roles = ["on-call"]`: true, `roles = ["dev"]`: false,
		`client = ["10.0.0.0/8"]`: true, `client = ["10.1.2.3"]`: true, `client = ["::/0", "10.1.2.4"]`: false,
		"policies = [\"dev\"]\n roles = [\"none\"]": false,
	} {
		p := parse(t, "rule \"r\" {\n match {\n request {\n"+text+"\n}\n}"+validated)
		must.True(t, p.AsksWho())
		j, _ := aJob()
		j.Requester = who
		must.Eq(t, want, p.Check(j, nil).HasErrors(), must.Sprint(text))
	}
}

// A command that reads a file has no requester: rules that ask are not checked, and a warning says so.
func TestRequest_WithoutRequester(t *testing.T) {
	for _, src := range []string{
		"rule \"r\" {\n match {\n request {\n policies = [\"x\"]\n}\n}" + validated,
		"rule \"r\" {\n validation {\n condition = request.accessor == \"x\"\n error_message = \"denied\"\n}\n}\n",
		"rule \"r\" {\n validation {\n condition = false\n error_message = request.client\n}\n}\n",
	} {
		p := parse(t, src)
		j, _ := aJob()
		diags := p.Check(j, nil)
		must.Len(t, 1, diags)
		must.Eq(t, hcl.DiagWarning, diags[0].Severity)
		must.Eq(t, "Rule not checked", diags[0].Summary)
	}
	must.False(t, parse(t, "rule \"r\" {"+validated).AsksWho())
}

// What a rule injects does not depend on who registers the job.
func TestRequest_OnlyInValidations(t *testing.T) {
	for src, line := range map[string]int{
		"rule \"r\" {\n match {\n request {\n policies = [\"x\"]\n}\n}\n inject \"x\" {}\n}\n":                 1,
		"rule \"r\" {\n inject \"x\" {\n a = request.accessor\n}\n}\n":                                         3,
		"rule \"r\" {\n match {\n request {\n token = [\"x\"]\n}\n}" + validated:                               4,
		"rule \"r\" {\n match {\n request {\n client = [\"home\"]\n}\n}" + validated:                           4,
		"rule \"r\" {\n match {\n request {\n roles = []\n}\n}" + validated:                                    4,
		"rule \"r\" {\n match {\n request {}\n request {}\n}" + validated:                                      4,
		"rule \"r\" {\n validation {\n condition = request.token == \"\"\n error_message = \"denied\"\n}\n}\n": 3,
	} {
		var p Policy
		diags := p.Add([]byte(src), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(src))
		must.Eq(t, line, diags[0].Subject.Start.Line, must.Sprint(src, diags))
	}
}
