package jsonjob

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Chosen is a job with what its meta and a policy choose for it.
type Chosen struct {
	File    *File
	Choices []*templater.Choice
	// Kept are the injected tasks that stay as they are.
	Kept []job.Marked
	// Policy is the one given without the rules that had to be skipped; nil for none.
	Policy templater.Policy
}

// Choose reads a job and chooses its sidecars as the admission of jobs does. What kept
// names stays as it is. See, if it is not nil, completes what the job says of itself,
// such as its namespace. With errors about the job itself there is no Chosen; with errors
// about a choice there is one.
func Choose(raw []byte, name string, catalog job.Catalog, policy templater.Policy, kept []job.Marked, see func(*job.Job)) (*Chosen, hcl.Diagnostics) {
	file, diags := ParseKeeping(raw, name, catalog, kept)
	if diags.HasErrors() {
		return nil, diags
	}
	return file.choose(catalog, policy, kept, see)
}

func (f *File) choose(catalog job.Catalog, policy templater.Policy, kept []job.Marked, see func(*job.Job)) (*Chosen, hcl.Diagnostics) {
	if see != nil {
		see(f.Job())
	}
	flags, diags := templater.Settle(f.Job(), catalog, templater.Flags{Policy: policy, Kept: kept}, func(edits []job.Edit) hcl.Diagnostics {
		_, diags := f.Apply(edits)
		return diags
	})
	choices, more := templater.Choose(f.Job(), catalog, flags)
	return &Chosen{File: f, Choices: choices, Kept: kept, Policy: flags.Policy}, append(diags, more...)
}

// Discreet are diagnostics about the job without the values of sensitive parameters; see
// templater.Secrets. The policy is that of Choose.
func (c *Chosen) Discreet(catalog job.Catalog, policy templater.Policy, diags hcl.Diagnostics) hcl.Diagnostics {
	if len(diags) == 0 {
		return diags
	}
	return templater.NewRedactor(templater.Secrets(c.File.Job(), catalog, templater.Flags{Policy: policy}, c.Choices)).Diagnostics(diags)
}
