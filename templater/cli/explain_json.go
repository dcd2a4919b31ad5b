package cli

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/explanation"
)

func explainJSON(job *templater.Job, told []*templater.Explanation, totals []templater.Total) ([]byte, hcl.Diagnostics) {
	out, err := explanation.Of(job, told, totals)
	if err != nil {
		return nil, failureOf("Cannot write JSON", err)
	}
	return marshal(out)
}
