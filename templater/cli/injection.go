package cli

import (
	"bytes"
	"io"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// injection is the injection of a command's job.
type injection struct {
	*templater.Injection        // nil if the job cannot be read
	name                 string // of the job file, in messages
	source               []byte
	catalog              *sidecar.Catalog
	doc                  document
}

// injection reads the job, chooses sidecars and injects them. The sources are added to the
// reporter.
func (p *Program) injection(o *injectOptions, r *reporter) (*injection, hcl.Diagnostics) {
	in, diags := p.choose(o, r)
	if diags.HasErrors() {
		return in, diags
	}
	return in, append(diags, in.Carry()...)
}

// choose reads the job and chooses sidecars.
func (p *Program) choose(o *injectOptions, r *reporter) (*injection, hcl.Diagnostics) {
	in, diags := p.open(o, r)
	if diags.HasErrors() {
		return in, diags
	}
	var more hcl.Diagnostics
	in.Injection, more = templater.Select(in.doc, in.catalog, o.flags)
	r.hide(in.Secrets())
	return in, append(diags, more...)
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
	r.knowFiles(o.varFiles)
	in.doc, more = openJob(in.source, in.name, o, in.catalog, p.Environ)
	diags = append(diags, more...)
	if in.doc == nil || diags.HasErrors() {
		r.know(sourceOf(in.name, in.source))
		return in, diags
	}
	r.know(in.doc.Files())
	return in, diags
}

// read reads a job from a file, or from stdin for "-".
func (p *Program) read(path string) (src []byte, name string, err error) {
	if path == "-" {
		name = "<stdin>"
		src, err = bounds.Read(p.Stdin, bounds.JSONBytes)
	} else {
		name = path
		src, err = bounds.ReadFile(path, bounds.JSONBytes)
	}
	if json := bytes.TrimPrefix(src, []byte(byteOrderMark)); isJSON(json) {
		src = json
	}
	return src, name, err
}

// byteOrderMark begins JSON that some editors and shells write. Nomad does not accept it there.
const byteOrderMark = "\ufeff"

// write writes a result to stdout and returns the exit code.
func (p *Program) write(r *reporter, out []byte) int {
	return p.writeTo(p.Stdout, r, out)
}

// writeData is write for a job or a file, which must not be escaped.
func (p *Program) writeData(r *reporter, out []byte) int { return p.writeTo(p.data, r, out) }

func (p *Program) writeTo(w io.Writer, r *reporter, out []byte) int {
	if _, err := w.Write(out); err != nil {
		r.report(failureOf("Cannot write", err))
		return exitError
	}
	return exitDone
}
