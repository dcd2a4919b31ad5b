package templater

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Document is a job in one of its forms, such as hcljob.File and jsonjob.File.
type Document interface {
	// Job returns the job without earlier injections. Each call returns the same one.
	Job() *job.Job
	// Marks returns the marks of the injected tasks that the document came with.
	Marks() []job.Marked
	// Defaulted returns the groups with defaults of an earlier injection.
	Defaulted() []string
	// Source returns the original document, in the form that Apply writes.
	Source() ([]byte, hcl.Diagnostics)
	// Apply applies edits to the job without earlier injections.
	Apply([]job.Edit) ([]byte, hcl.Diagnostics)
}

// Injection is the state of an injection. After an error, the fields that could not be computed
// are empty.
type Injection struct {
	Document Document
	Catalog  job.Catalog
	// Flags are the given ones, without the skipped rules of the policy.
	Flags   Flags
	Choices []*Choice
	// Defaults is what becomes of the policy's defaults.
	Defaults []*DefaultState
	// Keep means that nothing is chosen and the document is not changed.
	Keep   bool
	Edits  []job.Edit
	Output []byte
	// Proxies are the proxies to which rules give a driver. Plan sets them.
	Proxies []*Proxy

	given Flags
}

// Inject runs all phases on a document: Select, then Carry.
func Inject(doc Document, catalog job.Catalog, flags Flags) (*Injection, hcl.Diagnostics) {
	in, diags := Select(doc, catalog, flags)
	if !diags.HasErrors() {
		diags = append(diags, in.Carry()...)
	}
	return in, diags
}

// Select settles the policy and chooses the sidecars and defaults of a document.
func Select(doc Document, catalog job.Catalog, flags Flags) (*Injection, hcl.Diagnostics) {
	in := &Injection{Document: doc, Catalog: catalog, given: flags}
	var diags, more hcl.Diagnostics
	in.Flags, diags = settle(doc, catalog, flags)
	in.Choices, more = Choose(doc.Job(), catalog, in.Flags)
	if diags = append(diags, more...); diags.HasErrors() {
		return in, diags
	}
	in.Defaults, more = chooseDefaults(doc.Job(), in.Flags.Policy)
	return in, append(diags, more...)
}

// Opener reads a document and leaves the given injected tasks in place.
type Opener func(keep []job.Marked) (Document, hcl.Diagnostics)

// SelectStored is Select for a job that was injected before and comes without the blocks and
// flags that chose its sidecars: those are kept; see Keepable. The Injection is nil if the
// document cannot be read.
func SelectStored(open Opener, catalog job.Catalog, flags Flags) (*Injection, hcl.Diagnostics) {
	doc, diags := open(nil)
	if diags.HasErrors() {
		return nil, diags
	}
	in, more := Select(doc, catalog, flags)
	if flags.Kept = in.Keepable(); len(flags.Kept) == 0 {
		return in, append(diags, more...)
	}
	if doc, diags = open(flags.Kept); diags.HasErrors() {
		return nil, diags
	}
	in, more = Select(doc, catalog, flags)
	return in, append(diags, more...)
}

// Keepable returns the tasks of the document to keep.
func (in *Injection) Keepable() []job.Marked {
	return Keepable(in.Document.Marks(), in.Choices, in.Catalog, in.Flags.Policy)
}

// Carry compares the choices with earlier injections and applies them.
func (in *Injection) Carry() hcl.Diagnostics {
	keep, diags := Reconcile(in.Document.Marks(), in.Choices, in.Catalog, in.Flags.Policy, in.setsDefaults())
	if diags.HasErrors() {
		return diags
	}
	if in.Keep = keep || in.keepsDefaults(); !in.Keep {
		return append(diags, in.Make()...)
	}
	diags = append(diags, in.keptProxies()...)
	var more hcl.Diagnostics
	in.Output, more = in.Document.Source()
	return append(diags, more...)
}

// Make applies the choices to the document without earlier injections.
func (in *Injection) Make() hcl.Diagnostics {
	diags := in.Plan()
	if diags.HasErrors() {
		return diags
	}
	var more hcl.Diagnostics
	in.Output, more = in.Document.Apply(in.Edits)
	return append(diags, more...)
}

// Plan computes the edits for the choices.
func (in *Injection) Plan() hcl.Diagnostics {
	var diags hcl.Diagnostics
	p := newPlanner(in.Document.Job(), in.Choices)
	if in.Flags.Policy != nil {
		p.defaults(in.Defaults, in.Document.Defaulted(), in.Flags)
	}
	in.Edits, diags = p.plan(in.Choices, in.Flags)
	var more hcl.Diagnostics
	in.Proxies, more = Proxies(in.Document.Job(), in.Flags)
	edits, warnings := planProxies(in.Proxies)
	if diags = append(append(diags, more...), warnings...); diags.HasErrors() {
		in.Edits = nil
		return diags
	}
	in.Edits = append(in.Edits, edits...)
	return diags
}

// Explain reports for each group and sidecar whether it is chosen, and why.
func (in *Injection) Explain() []*Explanation {
	explained, _ := Explain(in.Document.Job(), in.Catalog, in.Flags) // Select has its diagnostics
	return explained
}

// keptProxies returns warnings about proxies that a rule would change in a job that stays unchanged.
func (in *Injection) keptProxies() hcl.Diagnostics {
	proxies, diags := Proxies(in.Document.Job(), in.Flags)
	for _, p := range proxies {
		if p.State == StateChosen && !p.Service.Mesh.Marked {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Proxy keeps its driver", Detail: fmt.Sprintf(
				"By %s the proxy of service %q in group %q would run under driver %q, but the job has sidecars that nothing chooses now, and is not changed. Inject into the original job.", p.by(), p.Service.Name, p.Group.Name, p.Driver)})
		}
	}
	return diags
}

// Totals returns the resources that the edits add.
func (in *Injection) Totals() []Total { return Totals(in.Document.Job(), in.Edits) }

// Secrets returns the values of sensitive parameters; see Secrets.
func (in *Injection) Secrets() []string {
	return Secrets(in.Document.Job(), in.Catalog, in.given, in.Choices)
}

// Redact removes the values of sensitive parameters from diagnostics.
func (in *Injection) Redact(diags hcl.Diagnostics) hcl.Diagnostics {
	if len(diags) == 0 {
		return diags
	}
	return NewRedactor(in.Secrets()).Diagnostics(diags)
}
