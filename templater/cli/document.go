package cli

import (
	"context"
	"maps"
	"path/filepath"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// document is a job in HCL or JSON, to be written in the same or the other form.
type document interface {
	templater.Document
	// Files returns the sources that diagnostics refer to.
	Files() map[string]*hcl.File
}

func sourceOf(name string, src []byte) map[string]*hcl.File {
	return map[string]*hcl.File{name: {Bytes: src}}
}

// openJob reads a job for the requested output. A job that begins with a brace is JSON.
func openJob(src []byte, name string, o *injectOptions, catalog job.Catalog, environ []string) (document, hcl.Diagnostics) {
	if isJSON(src) {
		if o.out == "hcl" {
			return nil, failure("Cannot write HCL", name+" is JSON, and only a job file in HCL can be written as HCL. Use -out json, or pass the job file.")
		}
		f, diags := jsonjob.Parse(src, name, catalog)
		if f == nil {
			return nil, diags
		}
		return f, diags
	}
	base := filepath.Dir(o.path)
	if o.path == "-" {
		base = "."
	}
	f, diags := hcljob.Parse(src, name, hcljob.Inputs{Vars: o.vars, VarFiles: o.varFiles, Env: environ, BaseDir: base, AllowFS: o.allowFS, ParseJob: nomadParser(o.nomad, environ)})
	if f == nil || diags.HasErrors() {
		return nil, diags
	}
	if o.out != "json" {
		return f, diags
	}
	raw, more := f.JSON()
	if diags = append(diags, more...); diags.HasErrors() {
		return nil, diags
	}
	j, more := jsonjob.Parse(raw, name+" (as JSON)", catalog)
	if j == nil {
		return nil, append(diags, more...)
	}
	return &mixedDocument{text: f, json: j, view: templater.Reveal(f.Job(), j.Job())}, append(diags, more...)
}

// nomadParser returns a function that lets the Nomad of the environment parse a job. It is nil if the
// command neither needs a Nomad nor NOMAD_ADDR names one.
func nomadParser(needed bool, environ []string) func(text, variables string) ([]byte, error) {
	if !needed && getenv(environ, "NOMAD_ADDR") == "" {
		return nil
	}
	return func(text, variables string) ([]byte, error) {
		nomad, err := cluster.Open()
		if err != nil {
			return nil, err
		}
		defer nomad.Close()
		ctx, cancel := context.WithTimeout(context.Background(), parseTimeout)
		defer cancel()
		return nomad.ParseJob(ctx, text, variables)
	}
}

// parseTimeout limits parsing a job with Nomad's API.
const parseTimeout = 30 * time.Second

// mixedDocument is an HCL job with JSON output: its view comes from the text, so that
// diagnostics point into the file, and edits apply to the JSON.
type mixedDocument struct {
	text *hcljob.File
	json *jsonjob.File
	view *job.Job
}

func (d *mixedDocument) Job() *job.Job       { return d.view }
func (d *mixedDocument) Marks() []job.Marked { return d.text.Marks() }
func (d *mixedDocument) Defaulted() []string { return d.text.Defaulted() }

func (d *mixedDocument) Files() map[string]*hcl.File {
	files := d.text.Files()
	maps.Copy(files, d.json.Files())
	return files
}

func (d *mixedDocument) Source() ([]byte, hcl.Diagnostics) { return d.text.SourceJSON() }

func (d *mixedDocument) Apply(e []job.Edit) ([]byte, hcl.Diagnostics) {
	if lost := d.text.CheckDefaults(e); lost.HasErrors() {
		return nil, lost
	}
	return d.json.Apply(e)
}
