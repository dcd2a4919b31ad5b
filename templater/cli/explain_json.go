package cli

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

func explainJSON(j *job.Job, made *templater.Injection, proxies []*templater.Proxy, totals []templater.Total) ([]byte, hcl.Diagnostics) {
	out, err := explanation.Of(j, made.Explain(), made.Defaults, proxies, totals)
	if err != nil {
		return nil, failureOf("Cannot write JSON", err)
	}
	return marshal(out)
}
