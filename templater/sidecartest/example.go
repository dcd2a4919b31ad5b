package sidecartest

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// exampleName is the file name of an example's job in positions.
const exampleName = "example"

// CheckExamples injects the definition into the job of each example, or into a minimal job, and
// returns the errors, at positions in the definition's file. Other sidecars that a job chooses are
// taken from others. It skips examples with parameters that Lint rejects.
func CheckExamples(d *sidecar.Definition, others job.Catalog) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, e := range d.Examples {
		if d.BindExample(e).HasErrors() {
			continue
		}
		for _, diag := range injectExample(d, e, others) {
			if diag.Severity != hcl.DiagError {
				continue
			}
			shown := *diag
			shown.Detail = fmt.Sprintf("In example %q: %s", e.Name, diag.Detail)
			shown.Subject, shown.Context = placeOf(d, e, diag.Subject).Ptr(), nil
			shown.Expression, shown.EvalContext = nil, nil
			diags = append(diags, &shown)
		}
	}
	return diags
}

func injectExample(d *sidecar.Definition, e *sidecar.Example, others job.Catalog) hcl.Diagnostics {
	text, flags := e.Job, templater.Flags{}
	if text == "" {
		text = minimalJob(d)
		exact, err := version.NewConstraint("= " + d.Version.String())
		if err != nil {
			return hcl.Diagnostics{diagnostic.Error(e.Range, "Invalid version", err.Error()+".")}
		}
		flags.With = []*job.Request{{Sidecar: d.Name, Constraint: exact.String(), Range: e.Range}}
		flags.Params = map[string]map[string]sidecar.Argument{d.Name: e.Arguments()}
	}
	f, diags := hcljob.Parse([]byte(text), exampleName, hcljob.Inputs{})
	if f == nil || diags.HasErrors() {
		return diags
	}
	in, diags := templater.Inject(f, catalog{d, others}, flags)
	if diags.HasErrors() {
		return diags
	}
	for _, c := range in.Choices {
		if c.Definition == d {
			return nil
		}
	}
	return hcl.Diagnostics{diagnostic.Error(e.Range, "Example without the sidecar", fmt.Sprintf(
		"The job does not choose sidecar %q. Add sidecar %q { … } to its group, or \"sidecar.inject\" to its meta.", d.Name, d.Name))}
}

// minimalJob returns a job that meets the requirements of the definition.
func minimalJob(d *sidecar.Definition) string {
	mode := "bridge"
	if n := d.Requires.Network; len(n) > 0 {
		mode = n[0]
	}
	if mode == "cni" {
		mode = "cni/example"
	}
	return fmt.Sprintf(`job "example" {
  group "web" {
    network {
      mode = %q
    }
    task "app" {
      driver = "pod"
      config {
        command = "/bin/app"
      }
    }
  }
}
`, mode)
}

// placeOf returns the position in the definition's file of an error about an example: the line in
// its job, if that is a heredoc.
func placeOf(d *sidecar.Definition, e *sidecar.Example, at *hcl.Range) hcl.Range {
	switch {
	case at == nil:
		return e.Range
	case at.Filename == d.Filename():
		return *at
	case at.Filename != exampleName || e.Job == "":
		return e.Range
	}
	src := d.File().Bytes
	if !bytes.HasPrefix(src[e.JobRange.Start.Byte:], []byte("<<")) {
		return e.JobRange
	}
	line, begin := e.JobRange.Start.Line+at.Start.Line, e.JobRange.Start.Byte
	for n := 0; n < at.Start.Line; n++ {
		next := bytes.IndexByte(src[begin:], '\n')
		if next < 0 {
			return e.JobRange
		}
		begin += next + 1
	}
	end := begin + len(bytes.TrimRight(bytes.SplitN(src[begin:], []byte("\n"), 2)[0], " \t"))
	return hcl.Range{
		Filename: d.Filename(),
		Start:    hcl.Pos{Line: line, Column: 1, Byte: begin},
		End:      hcl.Pos{Line: line, Column: 1 + end - begin, Byte: end},
	}
}
