package admission

import (
	"net/http"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

const meshRule = "rule \"mesh\" {\n connect = \"pod\"\n}\n"

// meshJob is a job with a proxy, whose app has a driver.
func meshJob(driver string) string {
	return `{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge"}],` +
		`"Services":[{"Name":"web","PortLabel":"80","Connect":{"SidecarService":{}}}],` +
		`"Tasks":[{"Name":"app","Driver":"pod"},{"Name":"other","Driver":"` + driver + `"}]}]}}`
}

// The rule is in the log, and a proxy that it cannot change is a warning in Nomad's answer.
func TestConnect(t *testing.T) {
	f := startWith(t, rulesOf(t, meshRule))
	var told []Decision
	f.proxy.Decided = func(d Decision) { told = append(told, d) }
	resp, _ := f.send(http.MethodPut, "/v1/jobs", meshJob("pod"))
	must.Eq(t, http.StatusOK, resp.StatusCode)
	_, sent := f.last(t)
	must.StrContains(t, string(sent), `"SidecarTask":{"Name":"","Driver":"pod"`)
	must.Eq(t, "injected", told[0].Decision)
	must.Eq(t, []string{"mesh"}, told[0].Rules)

	// An injected job does not change.
	_, _ = f.send(http.MethodPut, "/v1/jobs", string(sent))
	_, again := f.last(t)
	must.Eq(t, string(sent), string(again))

	_, text := f.send(http.MethodPut, "/v1/jobs", meshJob("docker"))
	_, sent = f.last(t)
	must.Eq(t, meshJob("docker"), string(sent))
	must.StrContains(t, text, `Proxy keeps its driver: By rule \"mesh\" of the policy`)
	must.SliceEmpty(t, told[2].Rules)
}

func TestConnect_DryRun(t *testing.T) {
	rules := rulesOf(t, meshRule)
	rules.DryRun = true
	f := startWith(t, rules)
	_, text := f.send(http.MethodPut, "/v1/jobs", meshJob("pod"))
	_, sent := f.last(t)
	must.Eq(t, meshJob("pod"), string(sent))
	must.StrContains(t, text, `Dry run of the policy: the proxy of service \"web\" in group \"g\" would run under driver pod.`)

	f = startWith(t, rulesOf(t, meshRule))
	_, _ = f.send(http.MethodPut, "/v1/jobs", meshJob("pod"))
	_, injected := f.last(t)
	f = startWith(t, rules)
	_, text = f.send(http.MethodPut, "/v1/jobs", string(injected))
	_, sent = f.last(t)
	must.Eq(t, string(injected), string(sent))
	must.StrNotContains(t, text, "Dry run")
}

// A connect block of the wrong kind is an error, or Nomad's to report.
func TestConnect_Malformed(t *testing.T) {
	f := startWith(t, rulesOf(t, meshRule))
	for from, to := range map[string]string{
		`{"SidecarService":{}}`:   `{"SidecarService":{},"SidecarTask":"x"}`,
		`"Connect":{"Sidecar`:     `"Connect":[],"x":{"Sidecar`,
		`"SidecarService":{}}}],`: `"SidecarService":{},"SidecarTask":{"Driver":"pod","Config":[],"Meta":{"sidecar_connect":"{\"task\":true,\"config\":[\"image\"],\"bare\":{\"Driver\":\"absent\",\"Meta\":\"x\"}}"}}}}],`,
		`"SidecarService":{}`:     `"SidecarService":{},"SidecarTask":{"Driver":"pod","driver":"pod","Meta":{"sidecar_connect":"{}"}}`,
	} {
		resp, _ := f.send(http.MethodPut, "/v1/jobs", strings.Replace(meshJob("pod"), from, to, 1))
		must.Less(t, http.StatusInternalServerError, resp.StatusCode, must.Sprint(to))
	}
}
