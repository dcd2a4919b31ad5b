package admission

import (
	"net/http"
	"strings"
)

// route is what a request to Nomad's API is about, as far as it matters here.
type route string

const (
	pass     route = "pass"
	register route = "register"
	plan     route = "plan"
	validate route = "validate"
	revert   route = "revert"
)

// jobRoute finds the route of a request below /v1/job/, by Nomad's own rules: it looks
// at the decoded path, and at its end, since the ID of a job may hold slashes
// (command/agent/job_endpoint.go, JobSpecificRequest).
func jobRoute(r *http.Request) (to route, jobID string) {
	if !writes(r) {
		return pass, ""
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/job/")
	for _, suffix := range otherSuffixes() {
		if strings.HasSuffix(path, suffix) {
			return pass, ""
		}
	}
	if id, ok := strings.CutSuffix(path, "/plan"); ok {
		return plan, id
	}
	if id, ok := strings.CutSuffix(path, "/revert"); ok {
		return revert, id
	}
	return register, path
}

// otherSuffixes are those of requests without a job. What is not among them, such as
// one of a newer Nomad, is treated as a registration.
func otherSuffixes() []string {
	return []string{
		"/evaluate", "/allocations", "/evaluations", "/periodic/force", "/summary", "/dispatch", "/dispatch/payload",
		"/versions", "/deployments", "/deployment", "/stable", "/scale", "/services", "/submission", "/actions",
		"/action", "/tag",
	}
}

func writes(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }
