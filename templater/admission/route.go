package admission

import (
	"net/http"
	"strings"
)

// route is the kind of a request to Nomad's API.
type route string

const (
	pass     route = "pass"
	register route = "register"
	plan     route = "plan"
	validate route = "validate"
	revert   route = "revert"
	parse    route = "parse"
)

// jobRoute returns the route of a request below /v1/job/. It follows Nomad's rules: it checks the
// end of the decoded path, since a job ID may contain slashes
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

// otherSuffixes returns the suffixes of requests without a job. A request with any other suffix, for
// example one of a newer Nomad, is treated as a registration.
func otherSuffixes() []string {
	return []string{
		"/evaluate", "/allocations", "/evaluations", "/periodic/force", "/summary", "/dispatch", "/dispatch/payload",
		"/versions", "/deployments", "/deployment", "/stable", "/scale", "/services", "/submission", "/actions",
		"/action", "/tag",
	}
}

func writes(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }
