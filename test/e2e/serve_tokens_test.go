package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// teamPolicy is for one namespace only.
const teamPolicy = `namespace "team" {
  capabilities = ["list-jobs", "read-job", "submit-job", "read-logs"]
}
`

// TestServe_Tokens checks that the proxy does not change Nomad's decisions about tokens: denials have
// the same text with and without it, and permitted requests work.
func TestServe_Tokens(t *testing.T) {
	t.Parallel()
	c := start(t, "runc", func(o *agent.Options) { o.ACL = true })
	var f *front
	secrets := []string{c.Token()}
	t.Cleanup(func() { // after the end of the proxy
		for _, secret := range secrets {
			must.StrNotContains(t, f.audit.String(), secret)
		}
	})
	f = c.serve()
	_, err := c.Client().Namespaces().Register(&api.Namespace{Name: "team"}, nil)
	must.NoError(t, err)
	_, err = c.Client().ACLPolicies().Upsert(&api.ACLPolicy{Name: "team", Rules: teamPolicy}, nil)
	must.NoError(t, err)
	made, _, err := c.Client().ACLTokens().Create(&api.ACLToken{Name: "team", Type: "client", Policies: []string{"team"}}, nil)
	must.NoError(t, err)
	secrets = append(secrets, made.SecretID)
	f.does("job", "run", "-detach", f.counter())
	alloc := f.running("counter")

	tokens := map[string]string{"anonymous": "", "unknown": "11111111-2222-3333-4444-555555555555", "team": made.SecretID}
	for _, who := range []string{"anonymous", "team"} {
		t.Run(who, func(t *testing.T) { f.at(t).denied(tokens[who], alloc) })
	}
	version := f.version("counter")
	must.Eq(t, 0, version, must.Sprint("nobody without rights has changed the job"))

	t.Run("team in its namespace", func(t *testing.T) { f.at(t).inTeam(made.SecretID) })
	for _, who := range []string{"anonymous", "unknown"} {
		t.Run(who+" in the namespace of others", func(t *testing.T) {
			f := f.at(t)
			f.sameDenial(tokens[who], "status", "-namespace=team", "counter")
			f.sameDenial(tokens[who], "job", "stop", "-namespace=team", "-detach", "counter")
		})
	}
}

// denied tries requests that a token without rights in the default namespace must not make there.
func (f *front) denied(token string, alloc *api.Allocation) {
	f.t.Helper()
	changed := f.file("changed.nomad.hcl", counterJob(f.t, "sleep 0.02", "sleep 0.03"))
	for _, args := range [][]string{
		{"job", "run", "-detach", changed}, {"job", "plan", changed}, {"job", "stop", "-detach", "counter"},
		{"job", "scale", "-detach", "counter", "3"}, {"job", "dispatch", "counter"},
		{"status", "counter"}, {"job", "inspect", "counter"}, {"alloc", "logs", "-task", "counter", alloc.ID},
		{"alloc", "exec", "-task", "counter", alloc.ID, "true"}, {"operator", "snapshot", "save", f.dir + "/denied.snap"},
	} {
		f.sameDenial(token, args...)
	}
	refused := regexp.MustCompile("Permission denied|ACL token not found")
	for _, path := range []string{"/v1/job/counter", "/v1/agent/monitor"} {
		_, out := f.same(token, "operator", "api", path) // it prints what comes, and ends well
		must.RegexMatch(f.t, refused, out)
	}
	// The proxy asks Nomad for the version with this token, and says what Nomad says to that.
	code, out := f.nomadAt(f.address, token, "job", "revert", "-detach", "counter", "0")
	must.Eq(f.t, 1, code)
	must.RegexMatch(f.t, refused, out)
	f.same(token, "job", "validate", changed) // denied, the command validates by itself
}

// sameDenial checks that a command with a token fails, directly and through the proxy.
func (f *front) sameDenial(token string, args ...string) {
	f.t.Helper()
	code, out := f.same(token, args...)
	must.NotEq(f.t, 0, code, must.Sprintf("nomad %v: %s", args, out))
	must.RegexMatch(f.t, regexp.MustCompile("(?i)permission denied|not found|no job|unable to resolve"), out)
}

// same runs a command with a token directly and through the proxy, and compares the results.
func (f *front) same(token string, args ...string) (code int, out string) {
	f.t.Helper()
	directCode, direct := f.nomadAt(f.Address(), token, args...)
	code, out = f.nomadAt(f.address, token, args...)
	must.Eq(f.t, direct, out, must.Sprintf("nomad %v", args))
	must.Eq(f.t, directCode, code, must.Sprintf("nomad %v", args))
	return code, out
}

// inTeam uses a token where it has rights, with all that the proxy adds to a job.
func (f *front) inTeam(token string) {
	f.t.Helper()
	does := func(args ...string) string {
		code, out := f.nomadAt(f.address, token, args...)
		must.Zero(f.t, code, must.Sprintf("nomad %v: %s", args, out))
		return out
	}
	text := strings.Replace(counterJob(f.t), "job \"counter\" {", "job \"counter\" {\n  namespace = \"team\"", 1)
	inTeam := f.file("team.nomad.hcl", text)
	does("job", "run", "-detach", inTeam)
	var alloc *api.AllocationListStub
	f.eventually("it runs", func() error {
		allocs, _, err := f.Client().Jobs().Allocations("counter", false, &api.QueryOptions{Namespace: "team"})
		if err != nil || len(allocs) != 1 || allocs[0].ClientStatus != api.AllocClientStatusRunning {
			return fmt.Errorf("%d allocations: %w", len(allocs), err)
		}
		alloc = allocs[0]
		for name, state := range alloc.TaskStates { // one that runs is enough for the allocation
			if state.State != "running" {
				return fmt.Errorf("task %s is %s", name, state.State)
			}
		}
		return nil
	})
	must.MapContainsKeys(f.t, alloc.TaskStates, []string{"counter", "beside"})
	must.StrContains(f.t, does("status", "-namespace=team", "counter"), "running")
	does("job", "plan", inTeam) // 0: no allocation changes
	does("job", "validate", inTeam)
	does("alloc", "logs", "-namespace=team", "-task", "counter", alloc.ID)
	slower := f.file("slower.nomad.hcl", strings.Replace(text, "sleep 0.02", "sleep 0.2", 1))
	does("job", "run", "-detach", slower)
	does("job", "revert", "-namespace=team", "-detach", "counter", "0") // the proxy reads the version with this token
	does("job", "plan", inTeam)
}
