package sidecartest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Run runs the test and returns the reasons why it failed, or nothing if it passed. Other sidecars
// that the job chooses are taken from others. If update is set, Run rewrites a golden file that
// differs.
func (t *Test) Run(others job.Catalog, update bool) (failures []string) {
	out, diags := t.inject(others)
	if t.wantError != "" {
		return t.checkError(diags)
	}
	if diags.HasErrors() {
		return texts(diags)
	}
	j, err := t.parse(out)
	if err != nil {
		return []string{fmt.Sprintf("Nomad cannot parse the result: %s", err)}
	}
	if t.golden != "" {
		failures = append(failures, t.checkGolden(out, update)...)
	}
	return append(failures, t.checkAsserts(j)...)
}

// inject injects into HCL, like the inject command.
func (t *Test) inject(others job.Catalog) ([]byte, hcl.Diagnostics) {
	f, diags := hcljob.Parse([]byte(t.job), t.jobName, t.inputs())
	if f == nil || diags.HasErrors() {
		return nil, diags
	}
	f.Job().Requester = t.request
	flags, c := templater.Flags{}, others
	if t.policy != nil {
		flags.Policy = t.policy
		if diags := t.policy.CheckCatalog(others); diags.HasErrors() {
			return nil, diags
		}
	} else {
		c = catalog{t.sidecar, others}
	}
	if t.chosen {
		flags.With = []*job.Request{{Sidecar: t.sidecar.Name}}
		flags.Params = map[string]map[string]sidecar.Argument{t.sidecar.Name: maps.Clone(t.parameters)}
	}
	in, diags := templater.Inject(f, c, flags)
	return in.Output, diags
}

func (t *Test) checkError(diags hcl.Diagnostics) []string {
	if !diags.HasErrors() {
		return []string{fmt.Sprintf("no error, but %q was expected", t.wantError)}
	}
	for _, text := range texts(diags) {
		if strings.Contains(text, t.wantError) {
			return nil
		}
	}
	return append([]string{fmt.Sprintf("expected error %q:", t.wantError)}, texts(diags)...)
}

// texts returns the errors among diagnostics, each with its position.
func texts(diags hcl.Diagnostics) []string {
	var out []string
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		text := d.Summary + ": " + d.Detail
		if d.Subject != nil {
			text = d.Subject.String() + ": " + text
		}
		out = append(out, text)
	}
	return out
}

var digests = regexp.MustCompile(`sha256:(?:[0-9a-f]{64}|[0-9a-f]{16})`)

// checkGolden compares the result with a file. It replaces all digests by a constant, because they
// change with the definition.
func (t *Test) checkGolden(out []byte, update bool) []string {
	out = digests.ReplaceAll(out, []byte("sha256:…"))
	path := filepath.Join(t.dir, t.golden)
	want, err := os.ReadFile(path)
	if err != nil && !update {
		return []string{fmt.Sprintf("read golden file: %s; use -update to write it", err)}
	}
	if string(want) == string(out) {
		return nil
	}
	if update {
		if err := os.WriteFile(path, out, 0o644); err != nil {
			return []string{fmt.Sprintf("write golden file: %s", err)}
		}
		return nil
	}
	return []string{"the result differs from the golden file:\n" + string(diff.Diff(path, want, "result", out))}
}

// parse parses the result with Nomad's parser.
func (t *Test) inputs() hcljob.Inputs {
	return hcljob.Inputs{Vars: t.variables, BaseDir: t.dir, ParseJob: t.ParseJob}
}

func (t *Test) parse(out []byte) (cty.Value, error) {
	f, diags := hcljob.Parse(out, t.jobName, t.inputs())
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	whole, diags := f.SourceJSON()
	if diags.HasErrors() {
		return cty.NilVal, errors.New(diags[0].Detail)
	}
	t.parsedByNomad = len(diags) > 0
	var request struct{ Job json.RawMessage }
	if err := json.Unmarshal(whole, &request); err != nil {
		return cty.NilVal, fmt.Errorf("read job: %w", err)
	}
	raw := request.Job
	typ, err := ctyjson.ImpliedType(raw)
	if err != nil {
		return cty.NilVal, fmt.Errorf("read job: %w", err)
	}
	return ctyjson.Unmarshal(raw, typ)
}

func (t *Test) checkAsserts(j cty.Value) []string {
	ctx := &hcl.EvalContext{
		Functions: jobspec2.Functions(t.dir, false),
		Variables: map[string]cty.Value{"job": j, "group": byName(j.GetAttr("TaskGroups"), func(g map[string]cty.Value) {
			g["task"] = byName(g["Tasks"], nil)
		})},
	}
	var failures []string
	for _, a := range t.asserts {
		v, diags := a.condition.Value(ctx)
		if diags.HasErrors() {
			failures = append(failures, texts(diags)...)
			continue
		}
		v, err := convert.Convert(v, cty.Bool)
		if err != nil || v.IsNull() || !v.IsKnown() {
			failures = append(failures, fmt.Sprintf("%s: the condition must be true or false", a.condition.Range()))
			continue
		}
		if v.False() {
			failures = append(failures, fmt.Sprintf("%s: %s", a.condition.Range(), a.message))
		}
	}
	return failures
}

// byName converts a list of objects to an object keyed by their Name.
func byName(list cty.Value, complete func(map[string]cty.Value)) cty.Value {
	out := map[string]cty.Value{}
	if list.IsNull() || !list.CanIterateElements() {
		return cty.EmptyObjectVal
	}
	for _, e := range list.AsValueSlice() {
		fields := e.AsValueMap()
		name := fields["Name"]
		if complete != nil {
			complete(fields)
		}
		if !name.IsNull() {
			out[name.AsString()] = cty.ObjectVal(fields)
		}
	}
	return cty.ObjectVal(out)
}

// catalog adds the definition under test to other catalogs, with precedence.
type catalog struct {
	own    *sidecar.Definition
	others job.Catalog
}

func (c catalog) Find(name string, constraints ...version.Constraints) *sidecar.Definition {
	if name != c.own.Name {
		return c.others.Find(name, constraints...)
	}
	for _, con := range constraints {
		if !con.Check(c.own.Version) {
			return nil
		}
	}
	return c.own
}

func (c catalog) Versions(name string) []*sidecar.Definition {
	if name == c.own.Name {
		return []*sidecar.Definition{c.own}
	}
	return c.others.Versions(name)
}

func (c catalog) Names() []string {
	names := append(c.others.Names(), c.own.Name)
	slices.Sort(names)
	return slices.Compact(names)
}
