package cli

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// injection is one run of injecting, step by step; what could not be computed for
// errors is nil.
type injection struct {
	name    string // of the job file, in messages
	source  []byte
	catalog *sidecar.Catalog
	doc     document
	choices []*templater.Choice
	// keep says that nothing is chosen and the job stays as it is.
	keep  bool
	edits []job.Edit
	after []byte
}

// injection reads the job, chooses sidecars and injects them. The reporter learns
// the sources read.
func (p *Program) injection(o *injectOptions, r *reporter) (*injection, hcl.Diagnostics) {
	in, diags := p.open(o, r)
	if diags.HasErrors() {
		return in, diags
	}
	flags, more := in.settle(o)
	diags = append(diags, more...)
	in.choices, more = templater.Choose(in.doc.job(), in.catalog, flags)
	diags = append(diags, more...)
	r.hide(templater.Secrets(in.doc.job(), in.catalog, flags, in.choices)) // with those of a policy
	if diags.HasErrors() {
		return in, diags
	}
	in.keep, more = templater.Reconcile(in.doc.marks(), in.choices, in.catalog, flags.Policy)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return in, diags
	}
	if in.keep {
		in.after, more = in.doc.asItIs()
		return in, append(diags, more...)
	}
	in.edits, more = templater.Plan(in.doc.job(), in.choices)
	diags = append(diags, more...)
	if diags.HasErrors() {
		return in, diags
	}
	in.after, more = in.doc.apply(in.edits)
	return in, append(diags, more...)
}

// settle leaves out rules of the policy that cannot be carried out and may be skipped.
func (in *injection) settle(o *injectOptions) (templater.Flags, hcl.Diagnostics) {
	return templater.Settle(in.doc.job(), in.catalog, o.flags, func(edits []job.Edit) hcl.Diagnostics {
		_, diags := in.doc.apply(edits)
		return diags
	})
}

// open reads the catalog, the policy and the job.
func (p *Program) open(o *injectOptions, r *reporter) (*injection, hcl.Diagnostics) {
	in := &injection{}
	var diags, more hcl.Diagnostics
	in.catalog, diags = p.loadCatalog(o.catalogs, r)
	if diags.HasErrors() {
		return in, diags
	}
	if len(o.policies) > 0 {
		rules, more := loadPolicy(o.policies, in.catalog, r)
		diags = append(diags, more...)
		if diags.HasErrors() {
			return in, diags
		}
		o.flags.Policy = rules
	}
	var err error
	in.source, in.name, err = p.read(o.path)
	if err != nil {
		return in, append(diags, failureOf("Cannot read the job", err)...)
	}
	in.doc, more = openJob(in.source, in.name, o, in.catalog, p.Environ)
	diags = append(diags, more...)
	if in.doc == nil || diags.HasErrors() {
		r.know(sourceOf(in.name, in.source))
		return in, diags
	}
	r.know(in.doc.files())
	r.hide(templater.Secrets(in.doc.job(), in.catalog, o.flags, nil))
	return in, diags
}

// read reads a file, or stdin for "-".
func (p *Program) read(path string) (src []byte, name string, err error) {
	if path == "-" {
		src, err = bounds.Read(p.Stdin, bounds.JSONBytes)
		return src, "<stdin>", err
	}
	src, err = bounds.ReadFile(path, bounds.JSONBytes)
	return src, path, err
}

// write writes a result to stdout and returns the exit code.
func (p *Program) write(r *reporter, out []byte) int {
	if _, err := p.Stdout.Write(out); err != nil {
		r.report(failureOf("Cannot write", err))
		return exitError
	}
	return exitDone
}
