package admission

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// Analysis says which findings about admitted jobs are warnings.
type Analysis struct {
	// Lowest is the lowest severity of a warning; Off for no analysis.
	Lowest   analyze.Severity
	Settings analyze.Settings
}

const (
	// maxAnalyzed bounds the jobs that are analyzed, in bytes. Real jobs are far smaller.
	maxAnalyzed = 1 << 20
	// maxFindings bounds the warnings of one answer.
	maxFindings = 20
)

// of returns the findings about a job, the worst ones first, as warnings.
func (a Analysis) of(body []byte) hcl.Diagnostics {
	if a.Lowest == analyze.Off {
		return nil
	}
	if len(body) > maxAnalyzed {
		return warnings("Not analyzed", fmt.Sprintf("The job is larger than %s.", size(maxAnalyzed)))
	}
	root, diags := jsonjob.Tree(body, requestName)
	if diags.HasErrors() {
		return nil // it was read before
	}
	found := slices.DeleteFunc(analyze.Job(root, nil, a.Settings), func(f analyze.Finding) bool { return f.Severity < a.Lowest })
	slices.SortStableFunc(found, func(x, y analyze.Finding) int { return int(y.Severity) - int(x.Severity) })
	for i, f := range found {
		if i == maxFindings {
			diags = append(diags, warnings("More findings", fmt.Sprintf("%d others are not listed. See \"nomad-sidecar analyze\".", len(found)-i))...)
			break
		}
		diags = append(diags, warnings(f.Code.ID, f.Text+" Fix: "+f.Code.Fix)...)
	}
	return diags
}

func warnings(summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{diagnostic.Warning(hcl.Range{}, summary, detail)}
}
