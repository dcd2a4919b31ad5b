package analyze

import (
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Document is a job that can also be read as a whole.
type Document interface {
	templater.Document
	Tree() (*job.Node, hcl.Diagnostics)
}

// Injection checks the job of an injection after Select, with the sidecars that are chosen. A job
// that was injected before is checked as it stands. selected are the diagnostics of Select. Values
// of sensitive parameters are redacted.
func Injection(in *templater.Injection, doc Document, selected hcl.Diagnostics, s Settings) ([]Finding, hcl.Diagnostics) {
	root, diags := doc.Tree()
	if diags.HasErrors() {
		return nil, diags
	}
	told := selected
	if !told.HasErrors() && len(doc.Marks()) == 0 {
		told = append(told, in.Plan()...)
	}
	var edits []job.Edit
	if !told.HasErrors() && len(doc.Marks()) == 0 {
		edits = in.Edits
	}
	c := newChecker(s)
	c.choices(in.Redact(told))
	secrets := templater.NewRedactor(in.Secrets())
	for _, f := range Job(root, edits, s) {
		f.Text = secrets.Text(f.Text)
		c.found = append(c.found, f)
	}
	return Sorted(c.found), nil
}

// choices reports the diagnostics of the injection.
func (c *checker) choices(diags hcl.Diagnostics) {
	for _, d := range diags {
		id := "NS1003"
		switch {
		case d.Severity == hcl.DiagError:
			id = "NS1001"
		case templater.WithoutEffect(d):
			id = "NS1002"
		}
		var at hcl.Range
		if d.Subject != nil {
			at = *d.Subject
		}
		c.report(id, nil, at, strings.Join(strings.Fields(d.Summary+": "+d.Detail), " "))
	}
}
