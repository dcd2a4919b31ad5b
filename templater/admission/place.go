package admission

import (
	"net/http"

	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// placeOf finds the namespace and region that Nomad would take, in its own order
// (command/agent/job_endpoint.go, namespaceForJob, regionForJob, ValidateJobRequest).
func (r *Rules) placeOf(to route, req *http.Request) func(*jsonjob.Request) place {
	query := req.URL.Query()
	return func(body *jsonjob.Request) place {
		namespace := first(query.Get("namespace"), body.Namespace, body.JobNamespace, "default")
		if to == validate {
			namespace = first(body.JobNamespace, "default")
		}
		region := first(body.Region, query.Get("region"), body.JobRegion)
		if region == "" || region == "global" {
			region = r.Region
		}
		return place{namespace, region}
	}
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
