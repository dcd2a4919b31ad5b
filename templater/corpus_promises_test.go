package templater_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// refusal is a job that cannot be injected, by the summary of the first error.
type refusal struct{ summary, detail string }

func (r *refusal) Error() string { return r.summary + ": " + r.detail }

func refused(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			return &refusal{d.Summary, d.Detail}
		}
	}
	return nil
}

// variables are values for those variables of a job that have no default.
func (j corpusJob) variables() []string {
	file, diags := hclsyntax.ParseConfig(j.text, j.place, hcl.InitialPos)
	if diags.HasErrors() {
		return nil
	}
	var vars []string
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		if b.Type != "variable" || len(b.Labels) != 1 || b.Body.Attributes["default"] != nil {
			continue
		}
		typ := cty.String
		if a := b.Body.Attributes["type"]; a != nil {
			typ, _, _ = typeexpr.TypeConstraintWithDefaults(a.Expr)
		}
		value := map[cty.Type]string{cty.String: "x", cty.Number: "1", cty.Bool: "true"}[typ]
		if value == "" {
			value = sidecar.Value((&sidecar.Parameter{Type: typ}).Sample(), sidecar.Style{})
		}
		vars = append(vars, b.Labels[0]+"="+value)
	}
	return vars
}

// byNomad is the job as Nomad's parser has it.
func (j corpusJob) byNomad(text []byte) (any, error) {
	parsed, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{
		Path: j.place, BaseDir: j.dir, Body: text, AllowFS: true, ArgVars: j.variables(), Strict: true,
	})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(map[string]any{"Job": parsed})
	if err != nil {
		return nil, err
	}
	var v any
	return v, json.Unmarshal(raw, &v)
}

// edits are those that inject sidecars into a job, by flags.
func editsOf(view *job.Job, c *sidecar.Catalog, flags templater.Flags) ([]job.Edit, error) {
	choices, diags := templater.Choose(view, c, flags)
	if err := refused(diags); err != nil {
		return nil, err
	}
	edits, diags := templater.Plan(view, choices)
	return edits, refused(diags)
}

func injectOr(d doc, c *sidecar.Catalog, flags templater.Flags) ([]byte, error) {
	edits, err := editsOf(d.Job(), c, flags)
	if err != nil {
		return nil, err
	}
	out, diags := d.Apply(edits)
	return out, refused(diags)
}

// keepsText says which of the promises about text does not hold for a job in HCL.
func (j corpusJob) keepsText(c *sidecar.Catalog, flags templater.Flags) (injected []byte, err error) {
	in := hcljob.Inputs{Vars: j.variables(), BaseDir: j.dir, AllowFS: true}
	f, diags := hcljob.Parse(j.text, j.place, in)
	if err := refused(diags); err != nil {
		return nil, err
	}
	same, diags := f.Apply(nil)
	if diags.HasErrors() || !bytes.Equal(same, j.text) && !chosenInside(f.Job()) {
		return nil, fmt.Errorf("changed without a choice: %s", diags)
	}
	once, err := injectOr(f, c, flags)
	if err != nil {
		return nil, err
	}
	if !isWithin(j.text, once) {
		return nil, errors.New("bytes of the job were lost")
	}
	back, diags := hcljob.Eject(once, j.place)
	if diags.HasErrors() || !bytes.Equal(back, j.text) {
		return nil, fmt.Errorf("eject does not give the job back: %s", diags)
	}
	again, diags := hcljob.Parse(once, j.place, in)
	if diags.HasErrors() {
		return nil, fmt.Errorf("the result cannot be read: %s", diags)
	}
	twice, err := injectOr(again, c, flags)
	if err != nil || !bytes.Equal(once, twice) {
		return nil, errors.Join(err, errors.New("inject twice is not inject once"))
	}
	return once, nil
}

// chosenInside says whether a job has sidecar blocks of its own.
func chosenInside(view *job.Job) bool {
	return len(view.Requests) > 0 || slices.ContainsFunc(view.Groups, func(g *job.Group) bool { return len(g.Requests) > 0 })
}

// isWithin says whether the bytes of part stand in whole, in their order.
func isWithin(part, whole []byte) bool {
	for _, b := range whole {
		if len(part) > 0 && part[0] == b {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// keepsJSON says which of the promises about JSON does not hold for a job in JSON.
func keepsJSON(src []byte, place string, c *sidecar.Catalog, flags templater.Flags) (injected []byte, err error) {
	f, diags := jsonjob.Parse(src, place, c)
	if err := refused(diags); err != nil {
		return nil, err
	}
	if same, diags := f.Apply(nil); diags.HasErrors() || !bytes.Equal(same, src) {
		return nil, fmt.Errorf("JSON changed without a choice: %s", diags)
	}
	once, err := injectOr(f, c, flags)
	if err != nil {
		return nil, err
	}
	again, diags := jsonjob.Parse(once, place, c)
	if err := refused(diags); err != nil {
		return nil, fmt.Errorf("the JSON that results cannot be read: %w", err)
	}
	twice, err := injectOr(again, c, flags)
	if err != nil || !bytes.Equal(once, twice) {
		return nil, errors.Join(err, errors.New("inject twice is not inject once in JSON"))
	}
	back, _ := again.Apply(nil)
	if !bytes.Equal(back, src) {
		return nil, errors.New("eject does not give the JSON back")
	}
	return once, nil
}

// injectParsed injects what Nomad's parser made of a job. The edits are those of the
// text, as with -out json: only there one sees what the parser hands down to tasks.
func (j corpusJob) injectParsed(src []byte, c *sidecar.Catalog, flags templater.Flags) (any, error) {
	text, diags := hcljob.Parse(j.text, j.place, hcljob.Inputs{Vars: j.variables(), BaseDir: j.dir, AllowFS: true})
	if err := refused(diags); err != nil {
		return nil, err
	}
	edits, err := editsOf(text.Job(), c, flags)
	if err != nil {
		return nil, err
	}
	f, diags := jsonjob.Parse(src, j.place, c)
	if err := refused(diags); err != nil {
		return nil, err
	}
	raw, diags := f.Apply(edits)
	if err := refused(diags); err != nil {
		return nil, err
	}
	var v any
	return v, json.Unmarshal(raw, &v)
}

var errNotNomad = errors.New("not parsed by Nomad")

// keeps says which of the promises does not hold for a job; a *refusal where it
// cannot be injected, errNotNomad where Nomad could not run it, though the text
// holds what is promised.
func (j corpusJob) keeps(c *sidecar.Catalog, flags templater.Flags) error {
	if j.json {
		_, err := keepsJSON(j.text, j.place, c, flags)
		return err
	}
	text, err := j.keepsText(c, flags)
	if err != nil {
		return err
	}
	before, err := j.byNomad(j.text)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotNomad, err)
	}
	want, err := j.byNomad(text)
	if err != nil {
		return fmt.Errorf("the result is not parsed by Nomad: %w", err)
	}
	src, err := json.MarshalIndent(before, "", "    ")
	if err != nil {
		return err
	}
	if _, err := keepsJSON(src, j.place, c, flags); err != nil {
		return fmt.Errorf("as JSON: %w", err)
	}
	got, err := j.injectParsed(src, c, flags)
	if err != nil || !reflect.DeepEqual(want, got) {
		return errors.Join(err, errors.New("HCL injected then parsed is not parsed then JSON injected"))
	}
	return nil
}
