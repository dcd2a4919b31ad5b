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

// TestServe_Tokens checks that the proxy does not change Nomad's decisions about tokens: denials
// have the same text with and without it, and permitted requests work.
func TestServe_Tokens(t *testing.T) {
	t.Parallel()
	c := start(t, "runc", func(o *agent.Options) { o.ACL = true })
	var p *proxy
	secrets := []string{c.Token()}
	t.Cleanup(func() { // runs after the proxy has exited
		for _, secret := range secrets {
			must.StrNotContains(t, p.audit.String(), secret)
		}
	})
	p = c.serve()
	_, err := c.Client().Namespaces().Register(&api.Namespace{Name: "team"}, nil)
	must.NoError(t, err)
	_, err = c.Client().ACLPolicies().Upsert(&api.ACLPolicy{Name: "team", Rules: teamPolicy}, nil)
	must.NoError(t, err)
	made, _, err := c.Client().ACLTokens().Create(&api.ACLToken{Name: "team", Type: "client", Policies: []string{"team"}}, nil)
	must.NoError(t, err)
	secrets = append(secrets, made.SecretID)
	p.mustNomad("job", "run", "-detach", p.counter())
	alloc := p.running("counter")

	tokens := map[string]string{"anonymous": "", "unknown": "11111111-2222-3333-4444-555555555555", "team": made.SecretID}
	for _, who := range []string{"anonymous", "team"} {
		t.Run(who, func(t *testing.T) { p.forPart(t).checkDenied(tokens[who], alloc) })
	}
	version := p.version("counter")
	must.Eq(t, 0, version, must.Sprint("version after denied requests"))

	t.Run("team in its namespace", func(t *testing.T) { p.forPart(t).checkTeamToken(made.SecretID) })
	for _, who := range []string{"anonymous", "unknown"} {
		t.Run(who+" in the namespace of others", func(t *testing.T) {
			p := p.forPart(t)
			p.checkSameDenial(tokens[who], "status", "-namespace=team", "counter")
			p.checkSameDenial(tokens[who], "job", "stop", "-namespace=team", "-detach", "counter")
		})
	}
}

// checkDenied sends requests that a token without rights in the default namespace must not make.
func (p *proxy) checkDenied(token string, alloc *api.Allocation) {
	p.t.Helper()
	changed := p.file("changed.nomad.hcl", counterJob(p.t, "sleep 0.02", "sleep 0.03"))
	for _, args := range [][]string{
		{"job", "run", "-detach", changed}, {"job", "plan", changed}, {"job", "stop", "-detach", "counter"},
		{"job", "scale", "-detach", "counter", "3"}, {"job", "dispatch", "counter"},
		{"status", "counter"}, {"job", "inspect", "counter"}, {"alloc", "logs", "-task", "counter", alloc.ID},
		{"alloc", "exec", "-task", "counter", alloc.ID, "true"}, {"operator", "snapshot", "save", p.dir + "/denied.snap"},
	} {
		p.checkSameDenial(token, args...)
	}
	refused := regexp.MustCompile("Permission denied|ACL token not found")
	for _, path := range []string{"/v1/job/counter", "/v1/agent/monitor"} {
		_, out := p.compareDirect(token, "operator", "api", path) // prints the response and exits with 0
		must.RegexMatch(p.t, refused, out)
	}
	// The proxy reads the version with this token, and returns Nomad's error.
	code, out := p.nomadAt(p.address, token, "job", "revert", "-detach", "counter", "0")
	must.Eq(p.t, 1, code)
	must.RegexMatch(p.t, refused, out)
	p.compareDirect(token, "job", "validate", changed) // if denied, the command validates locally
}

// checkSameDenial checks that a command with a token fails, directly and through the proxy.
func (p *proxy) checkSameDenial(token string, args ...string) {
	p.t.Helper()
	code, out := p.compareDirect(token, args...)
	must.NotEq(p.t, 0, code, must.Sprintf("nomad %v: %s", args, out))
	must.RegexMatch(p.t, regexp.MustCompile("(?i)permission denied|not found|no job|unable to resolve"), out)
}

// compareDirect runs a command with a token directly and through the proxy, and compares the
// results.
func (p *proxy) compareDirect(token string, args ...string) (code int, out string) {
	p.t.Helper()
	directCode, direct := p.nomadAt(p.Address(), token, args...)
	code, out = p.nomadAt(p.address, token, args...)
	must.Eq(p.t, direct, out, must.Sprintf("nomad %v", args))
	must.Eq(p.t, directCode, code, must.Sprintf("nomad %v", args))
	return code, out
}

// checkTeamToken uses a token in the namespace that it has rights for.
func (p *proxy) checkTeamToken(token string) {
	p.t.Helper()
	mustNomad := func(args ...string) string {
		code, out := p.nomadAt(p.address, token, args...)
		must.Zero(p.t, code, must.Sprintf("nomad %v: %s", args, out))
		return out
	}
	text := strings.Replace(counterJob(p.t), "job \"counter\" {", "job \"counter\" {\n  namespace = \"team\"", 1)
	inTeam := p.file("team.nomad.hcl", text)
	mustNomad("job", "run", "-detach", inTeam)
	var alloc *api.AllocationListStub
	p.eventually("the job runs", func() error {
		allocs, _, err := p.Client().Jobs().Allocations("counter", false, &api.QueryOptions{Namespace: "team"})
		if err != nil || len(allocs) != 1 || allocs[0].ClientStatus != api.AllocClientStatusRunning {
			return fmt.Errorf("%d allocations: %w", len(allocs), err)
		}
		alloc = allocs[0]
		for name, state := range alloc.TaskStates { // a single running task makes the allocation running
			if state.State != "running" {
				return fmt.Errorf("task %s is %s", name, state.State)
			}
		}
		return nil
	})
	must.MapContainsKeys(p.t, alloc.TaskStates, []string{"counter", "beside"})
	must.StrContains(p.t, mustNomad("status", "-namespace=team", "counter"), "running")
	mustNomad("job", "plan", inTeam) // exits with 0 if no allocation changes
	mustNomad("job", "validate", inTeam)
	mustNomad("alloc", "logs", "-namespace=team", "-task", "counter", alloc.ID)
	slower := p.file("slower.nomad.hcl", strings.Replace(text, "sleep 0.02", "sleep 0.2", 1))
	mustNomad("job", "run", "-detach", slower)
	mustNomad("job", "revert", "-namespace=team", "-detach", "counter", "0") // the proxy reads the version with this token
	mustNomad("job", "plan", inTeam)
}
