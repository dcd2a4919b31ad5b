package sidecartest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Suffix ends the file names of tests of definitions, PolicySuffix of tests of policies.
const (
	Suffix       = ".sidecartest.hcl"
	PolicySuffix = ".policytest.hcl"
)

// Test is a test block.
type Test struct {
	Name string
	// Of is the tested sidecar's name, or the policy's folder.
	Of    string
	Range hcl.Range
	// ParseJob is passed on to hcljob.Inputs.
	ParseJob func(text, variables string) ([]byte, error)

	subject
	dir        string // of the test file
	job        string // the job's text
	jobName    string
	chosen     bool // chosen by the test's parameters
	parameters map[string]sidecar.Argument
	variables  []string // name=value
	golden     string   // path, "" for none
	wantError  string
	asserts    []assertion
	request    *job.Requester // nil for none

	parsedByNomad bool
}

// ParsedByNomad reports whether Run used ParseJob, because the built-in parser does not know a part
// of the result.
func (t *Test) ParsedByNomad() bool { return t.parsedByNomad }

// subject is the definition or policy in the parent folder.
type subject struct {
	sidecar *sidecar.Definition
	policy  *policy.Policy
}

type assertion struct {
	condition hcl.Expression
	message   string
}

// Find returns the test files below a path, or the path itself.
func Find(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(p string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && IsTests(p) {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find tests: %w", err)
	}
	return files, nil
}

// IsTests reports whether a path names a test file.
func IsTests(path string) bool {
	return strings.HasSuffix(path, Suffix) || strings.HasSuffix(path, PolicySuffix)
}

// Load reads a test file and its subject from the parent folder: the policy, or the newest version
// of the definition. The folder must contain no other definition. files contains the sources read,
// for printing diagnostics.
func Load(file string) (tests []*Test, files map[string]*hcl.File, diags hcl.Diagnostics) {
	files = map[string]*hcl.File{}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, files, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot read tests", Detail: err.Error() + "."}}
	}
	if bad := bounds.HCL(src, file, bounds.DefinitionBytes); bad != nil {
		return nil, map[string]*hcl.File{file: {Bytes: src}}, hcl.Diagnostics{bad}
	}
	parsed, diags := hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	files[file] = parsed
	if diags.HasErrors() {
		return nil, files, diags
	}
	about, of, more := readSubject(file, files)
	diags = append(diags, more...)
	if about == (subject{}) {
		return nil, files, diags
	}
	content, more := parsed.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "test", LabelNames: []string{"name"}}}})
	diags = append(diags, more...)
	for _, b := range content.Blocks {
		t := &Test{Name: b.Labels[0], Of: of, subject: about, Range: b.DefRange, dir: filepath.Dir(file)}
		more := t.decode(b)
		diags = append(diags, more...)
		if !more.HasErrors() {
			tests = append(tests, t)
		}
	}
	return tests, files, diags
}

func readSubject(file string, files map[string]*hcl.File) (about subject, of string, diags hcl.Diagnostics) {
	dir := filepath.Dir(filepath.Dir(file))
	if !strings.HasSuffix(file, PolicySuffix) {
		def, diags := definition(dir, files)
		if def == nil {
			return about, "", diags
		}
		return subject{sidecar: def}, def.Name, diags
	}
	rules := &policy.Policy{}
	diags = rules.Load(os.DirFS(dir), filepath.ToSlash(dir))
	maps.Copy(files, rules.Files())
	if diags.HasErrors() {
		return about, "", diags
	}
	return subject{policy: rules}, "policy " + filepath.ToSlash(dir), diags
}

// definition reads the only sidecar in a folder. It ignores subfolders.
func definition(dir string, files map[string]*hcl.File) (*sidecar.Definition, hcl.Diagnostics) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*"+sidecar.Suffix)) // the pattern is valid
	var newest *sidecar.Definition
	var diags hcl.Diagnostics
	for _, p := range paths {
		src, err := os.ReadFile(p)
		if err != nil {
			return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot read definition", Detail: err.Error() + "."}}
		}
		files[p] = &hcl.File{Bytes: sidecar.UnixLines(src)}
		d, more := sidecar.Parse(src, p)
		diags = append(diags, more...)
		if d == nil {
			continue
		}
		if newest != nil && newest.Name != d.Name {
			return nil, append(diags, diagnostic.Error(d.Range, "Several sidecars", fmt.Sprintf(
				"Folder %s also contains %q, so the tested definition is ambiguous. Put each into a folder of its own.", dir, newest.Name)))
		}
		if newest == nil || d.Version.GreaterThan(newest.Version) {
			newest = d
		}
	}
	if newest == nil && !diags.HasErrors() {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "No sidecar to test",
			Detail: fmt.Sprintf("No file ends in %s in %s, the parent folder of the tests.", sidecar.Suffix, dir)})
	}
	return newest, diags
}

func (t *Test) decode(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{
			{Name: "job", Required: true}, {Name: "parameters"}, {Name: "variables"}, {Name: "golden"}, {Name: "error"}, {Name: "request"},
		},
		Blocks: []hcl.BlockHeaderSchema{{Type: "assert"}},
	})
	if diags.HasErrors() {
		return diags
	}
	for name, into := range map[string]*string{"job": &t.job, "golden": &t.golden, "error": &t.wantError} {
		if a := content.Attributes[name]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, into)...)
		}
	}
	if a := content.Attributes["parameters"]; a != nil && t.policy != nil {
		return hcl.Diagnostics{diagnostic.Error(a.NameRange, "Parameters in a policy test", "The policy chooses sidecars and their values. Remove parameters.")}
	} else if a != nil {
		t.chosen = true
		var more hcl.Diagnostics
		t.parameters, more = arguments(a)
		diags = append(diags, more...)
	}
	if a := content.Attributes["request"]; a != nil {
		diags = append(diags, t.decodeRequest(a)...)
	}
	if a := content.Attributes["variables"]; a != nil {
		diags = append(diags, t.decodeVariables(a)...)
	}
	for _, block := range content.Blocks {
		diags = append(diags, t.decodeAssert(block)...)
	}
	if diags.HasErrors() {
		return diags
	}
	if t.golden == "" && t.wantError == "" && len(t.asserts) == 0 {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Nothing expected", "A test must set golden, error or assert.")}
	}
	if t.wantError != "" && (t.golden != "" || len(t.asserts) > 0) {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Error and result", "A test expects either an error or a result, golden or assert. Split it into two tests.")}
	}
	return t.readJob(content.Attributes["job"])
}

// arguments reads the values of parameters, which may use outputs of sidecars in the job.
func arguments(a *hcl.Attribute) (map[string]sidecar.Argument, hcl.Diagnostics) {
	out := map[string]sidecar.Argument{}
	pairs, diags := hcl.ExprMap(a.Expr)
	if diags.HasErrors() {
		values, diags := object(a)
		for name, v := range values {
			out[name] = sidecar.Argument{Value: v, From: "the test"}
		}
		return out, append(diags, refused(a.Expr, values)...)
	}
	ctx := bounds.NewBudget().In(&hcl.EvalContext{Variables: map[string]cty.Value{}})
	for _, pair := range pairs {
		var key string
		if more := gohcl.DecodeExpression(pair.Key, nil, &key); more.HasErrors() {
			diags = append(diags, more...)
			continue
		}
		given := sidecar.Argument{From: "the test"}
		arg, deferred, more := sidecar.Deferred(pair.Value, ctx, given, func(v cty.Value, diags hcl.Diagnostics) (sidecar.Argument, hcl.Diagnostics) {
			given.Value = v
			return given, diags
		})
		if diags = append(diags, more...); !deferred && !more.HasErrors() {
			arg.Value, more = bounds.Value(pair.Value, ctx)
			diags = append(diags, more...)
			diags = append(diags, refused(pair.Value, map[string]cty.Value{key: arg.Value})...)
		}
		out[key] = arg
	}
	return out, diags
}

// refused returns an error about values with a reference to an output as text.
func refused(at hcl.Expression, values map[string]cty.Value) hcl.Diagnostics {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if sidecar.RefersToOutput(values[name]) {
			return hcl.Diagnostics{diagnostic.Error(at.Range(), "Reference as text", fmt.Sprintf(
				"Parameter %q has a reference to an output as text. Write sidecar.NAME.OUTPUT without $${ }, or \"${sidecar.NAME.OUTPUT}\" within text.", name))}
		}
	}
	return nil
}

// readJob reads the job from a file if the attribute is a file name.
func (t *Test) readJob(a *hcl.Attribute) hcl.Diagnostics {
	t.jobName = fmt.Sprintf("job of test %q", t.Name)
	if strings.Contains(t.job, "\n") {
		return nil
	}
	path := filepath.Join(t.dir, t.job)
	src, err := os.ReadFile(path)
	if err != nil {
		return hcl.Diagnostics{diagnostic.Error(a.Expr.Range(), "Cannot read the job", err.Error()+". Set a file in the test's folder, or the text of a job on several lines.")}
	}
	t.job, t.jobName = string(src), path
	return nil
}

// decodeRequest reads who registers the job, for rules that depend on it.
func (t *Test) decodeRequest(a *hcl.Attribute) hcl.Diagnostics {
	if t.policy == nil {
		return hcl.Diagnostics{diagnostic.Error(a.NameRange, "Request in a test of a definition", "Only policies depend on who registers a job. Remove request.")}
	}
	values, diags := object(a)
	t.request = &job.Requester{}
	texts := map[string]*string{"accessor": &t.request.Accessor, "client": &t.request.Client}
	lists := map[string]*[]string{"policies": &t.request.Policies, "roles": &t.request.Roles}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		var err error
		switch {
		case texts[name] != nil:
			err = gocty.FromCtyValue(values[name], texts[name])
		case lists[name] != nil:
			var v cty.Value
			if v, err = convert.Convert(values[name], cty.List(cty.String)); err == nil {
				err = gocty.FromCtyValue(v, lists[name])
			}
		default:
			err = errors.New("it is none of accessor, client, policies and roles")
		}
		if err != nil {
			diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid request", fmt.Sprintf("Field %q of request: %s.", name, err)))
		}
	}
	return diags
}

func (t *Test) decodeVariables(a *hcl.Attribute) hcl.Diagnostics {
	values, diags := object(a)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text := sidecar.Value(values[name], sidecar.Style{Flat: true})
		if s, err := convert.Convert(values[name], cty.String); err == nil && !s.IsNull() {
			text = s.AsString()
		}
		t.variables = append(t.variables, name+"="+text)
	}
	return diags
}

func (t *Test) decodeAssert(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "condition", Required: true}, {Name: "error_message", Required: true},
	}})
	if diags.HasErrors() {
		return diags
	}
	as := assertion{condition: content.Attributes["condition"].Expr}
	diags = append(diags, gohcl.DecodeExpression(content.Attributes["error_message"].Expr, nil, &as.message)...)
	t.asserts = append(t.asserts, as)
	return diags
}

// object evaluates an attribute to an object's values.
func object(a *hcl.Attribute) (map[string]cty.Value, hcl.Diagnostics) {
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return nil, diags
	}
	if v.IsNull() || !(v.Type().IsObjectType() || v.Type().IsMapType()) {
		return nil, hcl.Diagnostics{diagnostic.Error(a.Expr.Range(), "Invalid "+a.Name, a.Name+" must be an object, such as { name = \"value\" }.")}
	}
	return v.AsValueMap(), nil
}
