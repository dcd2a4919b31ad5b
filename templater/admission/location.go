package admission

import (
	"cmp"
	"net/http"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// locationOf returns the namespace and region in which Nomad would register the job, in its order of
// precedence (command/agent/job_endpoint.go, namespaceForJob, regionForJob). Nomad validates a job
// in the job's own namespace; for a job without one, in the namespace of a later registration.
func (r *Rules) locationOf(to route, req *http.Request) func(*jsonjob.Request) location {
	query := req.URL.Query()
	return func(body *jsonjob.Request) location {
		namespace := cmp.Or(query.Get("namespace"), body.Namespace, body.JobNamespace, "default")
		if to == validate {
			namespace = cmp.Or(body.JobNamespace, namespace)
		}
		region := cmp.Or(body.Region, query.Get("region"), body.JobRegion)
		if region == "" || region == "global" {
			region = r.Region
		}
		return location{namespace, region}
	}
}
