package hcljob

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// JSON returns the job without any sidecar as JSON from Nomad's own parser, like
// `nomad job run -output`. It needs every variable. Fields that are newer than the Nomad release
// that this program was built with need Inputs.ParseJob; a warning says that it was used.
func (f *File) JSON() ([]byte, hcl.Diagnostics) {
	plain, diags := f.Plain()
	if diags.HasErrors() {
		return nil, diags
	}
	return f.toJSON(plain)
}

// SourceJSON returns the original file, with earlier injections, as JSON.
func (f *File) SourceJSON() ([]byte, hcl.Diagnostics) { return f.toJSON(f.source) }

func (f *File) toJSON(text []byte) ([]byte, hcl.Diagnostics) {
	if diags := f.checkBounds(text); diags.HasErrors() {
		return nil, diags
	}
	if diags := f.unset(); diags.HasErrors() {
		return nil, diags
	}
	if u := f.missing(); u != nil {
		return nil, hcl.Diagnostics{u.Error("The job as JSON")}
	}
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{
		Path: f.name, BaseDir: f.inputs.BaseDir, Body: text, AllowFS: f.inputs.AllowFS,
		ArgVars: f.inputs.Vars, VarFiles: f.inputs.VarFiles, Envs: f.inputs.Env, Strict: true,
	})
	if err != nil && newerField(err) {
		return f.parsedByNomad(text, err)
	}
	if err != nil {
		d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Nomad cannot parse the job", Detail: err.Error()}
		var diags hcl.Diagnostics
		if errors.As(err, &diags) && len(diags) > 0 {
			d.Subject = diags[0].Subject
		}
		if !f.inputs.AllowFS {
			hintFS(hcl.Diagnostics{d})
		}
		return nil, hcl.Diagnostics{d}
	}
	out, err := json.MarshalIndent(struct{ Job *api.Job }{job}, "", "    ")
	if err != nil {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot write the job", Detail: fmt.Sprintf("marshal job: %s", err)}}
	}
	return append(out, '\n'), nil
}

// unset returns an error for each variable without a value.
func (f *File) unset() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, b := range f.file.Body.(*hclsyntax.Body).Blocks {
		if b.Type == "variable" && len(b.Labels) == 1 && f.scope.unset[b.Labels[0]] {
			name := b.Labels[0]
			diags = append(diags, diagnostic.Error(b.DefRange(), "Unset variable", fmt.Sprintf("The job as JSON needs a value of variable %q. Give -var %s=…, -var-file or NOMAD_VAR_%s.", name, name, name)))
		}
	}
	return diags
}
