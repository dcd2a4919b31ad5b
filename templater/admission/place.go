package admission

import (
	"cmp"
	"net/http"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// placeOf returns the namespace and region that Nomad would use, in its order of precedence
// (command/agent/job_endpoint.go, namespaceForJob, regionForJob, ValidateJobRequest).
func (r *Rules) placeOf(to route, req *http.Request) func(*jsonjob.Request) place {
	query := req.URL.Query()
	return func(body *jsonjob.Request) place {
		namespace := cmp.Or(query.Get("namespace"), body.Namespace, body.JobNamespace, "default")
		if to == validate {
			namespace = cmp.Or(body.JobNamespace, "default")
		}
		region := cmp.Or(body.Region, query.Get("region"), body.JobRegion)
		if region == "" || region == "global" {
			region = r.Region
		}
		return place{namespace, region}
	}
}
