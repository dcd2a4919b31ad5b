package hcljob

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// Inputs are values for the job's variables, as in `nomad job run`.
type Inputs struct {
	Vars     []string // "name=value", from -var
	VarFiles []string // paths, from -var-file
	// VarText is the text of a variable file, as a request to Nomad's API holds it. Variables that
	// the job does not declare are ignored there.
	VarText string
	Env     []string // the environment: NOMAD_VAR_name=value
	// AllowFS lets functions such as file() read what this process can read, relative to
	// BaseDir. Without it they fail, as in Nomad's own API.
	AllowFS bool
	BaseDir string
	// ParseJob, if not nil, parses a job with Nomad's API: Nomad may know more fields than the
	// parser of this program. variables is the text of a variable file.
	ParseJob func(text, variables string) (job []byte, err error)
}

// variable is a declared variable. A variable without a value is unknown: the file can be edited
// as long as no choice depends on it.
type variable struct {
	typ   cty.Type
	value cty.Value
}

// scope evaluates expressions of a job file.
type scope struct {
	ctx   *hcl.EvalContext
	files map[string]*hcl.File
	noFS  bool
	// unset are the variables without a value.
	unset  map[string]bool
	locals map[string]*hclsyntax.Attribute
	// iterators are the for_each of the enclosing dynamic blocks.
	iterators map[string]hcl.Expression
	literals  *literals
	// budget is shared by all expressions of the file.
	budget *bounds.Budget
}

// newScope evaluates variables and locals. As in Nomad, -var overrides -var-file, which
// overrides NOMAD_VAR_, which overrides the default (jobspec2.collectInputVariableValues).
func newScope(file *hcl.File, in Inputs) (*scope, hcl.Diagnostics) {
	s := &scope{files: map[string]*hcl.File{}, noFS: !in.AllowFS, unset: map[string]bool{}, literals: newLiterals()}
	body := file.Body.(*hclsyntax.Body)
	vars, diags := declared(body)
	for _, e := range in.Env {
		name, value, ok := strings.Cut(strings.TrimPrefix(e, jobspec2.VarEnvPrefix), "=")
		if v := vars[name]; ok && v != nil && strings.HasPrefix(e, jobspec2.VarEnvPrefix) {
			diags = append(diags, v.set(name, value, jobspec2.VarEnvPrefix+name)...)
		}
	}
	for _, path := range in.VarFiles {
		diags = append(diags, s.readVarFile(path, vars)...)
	}
	diags = append(diags, s.useVarText(in.VarText, vars)...)
	for _, arg := range in.Vars {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Variable without a value",
				Detail: fmt.Sprintf("-var %s: there is no \"=\". Give -var NAME=VALUE.", name)})
			continue
		}
		v := vars[name]
		if v == nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Undefined variable",
				Detail: fmt.Sprintf("-var %s: the job has no variable %q. Declare it with variable %q {}, or correct the name.", name, name, name)})
			continue
		}
		diags = append(diags, v.set(name, value, "-var "+name)...)
	}
	values := map[string]cty.Value{}
	for name, v := range vars {
		values[name] = v.value
		if !v.value.IsWhollyKnown() {
			s.unset[name] = true
		}
	}
	src := file.Bytes
	s.budget = bounds.NewBudget()
	s.ctx = s.budget.In(&hcl.EvalContext{
		Functions: careful(bounds.Functions(jobspec2.Functions(in.BaseDir, in.AllowFS)), !in.AllowFS),
		Variables: map[string]cty.Value{"var": cty.ObjectVal(values), "local": cty.EmptyObjectVal},
		// Leave every other root to Nomad's runtime, as jobspec2 does.
		UndefinedVariable: func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) {
			r := t.SourceRange()
			return cty.StringVal("${" + string(src[r.Start.Byte:r.End.Byte]) + "}"), nil
		},
	})
	return s, append(diags, s.evaluateLocals(body)...)
}

func declared(body *hclsyntax.Body) (map[string]*variable, hcl.Diagnostics) {
	vars := map[string]*variable{}
	var diags hcl.Diagnostics
	for _, b := range body.Blocks {
		switch {
		case b.Type == "variables":
			for name, a := range b.Body.Attributes {
				v, more := bounds.Value(a.Expr, nil)
				diags = append(diags, more...)
				vars[name] = &variable{typ: v.Type(), value: v}
			}
		case b.Type == "variable" && len(b.Labels) == 1:
			v, more := declaration(b)
			diags = append(diags, more...)
			vars[b.Labels[0]] = v
		}
	}
	return vars, diags
}

func declaration(b *hclsyntax.Block) (*variable, hcl.Diagnostics) {
	v := &variable{typ: cty.NilType, value: cty.DynamicVal}
	var diags hcl.Diagnostics
	if a := b.Body.Attributes["type"]; a != nil {
		t, _, more := typeexpr.TypeConstraintWithDefaults(a.Expr)
		diags = append(diags, more...)
		v.typ, v.value = t, cty.UnknownVal(t)
	}
	a := b.Body.Attributes["default"]
	if a == nil {
		return v, diags
	}
	def, more := bounds.Value(a.Expr, nil)
	diags = append(diags, more...)
	if more.HasErrors() {
		return v, diags
	}
	if v.typ == cty.NilType {
		v.typ, v.value = def.Type(), def
		return v, diags
	}
	converted, err := convert.Convert(def, v.typ)
	if err != nil {
		return v, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid default value for variable",
			Detail: fmt.Sprintf("The default of variable %q does not fit its type: %s.", b.Labels[0], err), Subject: a.Expr.Range().Ptr()})
	}
	v.value = converted
	return v, diags
}

// set parses the text of a variable's value: the text itself for strings and numbers, an
// expression for other types (jobspec2.expressionFromVariableDefinition).
func (v *variable) set(name, text, from string) hcl.Diagnostics {
	value := cty.StringVal(text)
	if v.typ != cty.NilType && v.typ != cty.String && v.typ != cty.Number {
		if bad := bounds.Expression([]byte(text), "<value of "+from+">"); bad != nil {
			return hcl.Diagnostics{bad}
		}
		expr, diags := hclsyntax.ParseExpression([]byte(text), "<value of "+from+">", hcl.InitialPos)
		if diags.HasErrors() {
			return diags
		}
		if bad := bounds.MeterExpression(expr); bad.HasErrors() {
			return bad
		}
		if value, diags = bounds.Value(expr, nil); diags.HasErrors() {
			return diags
		}
	}
	return v.assign(name, value, from, nil)
}

func (v *variable) assign(name string, value cty.Value, from string, at *hcl.Range) hcl.Diagnostics {
	if v.typ != cty.NilType {
		converted, err := convert.Convert(value, v.typ)
		if err != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid value for variable", Subject: at,
				Detail: fmt.Sprintf("The value that %s gives to variable %q does not fit its type: %s.", from, name, err)}}
		}
		value = converted
	}
	v.value = value
	return nil
}

func (s *scope) readVarFile(path string, vars map[string]*variable) hcl.Diagnostics {
	src, err := bounds.ReadFile(path, bounds.DefinitionBytes)
	if err != nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot read variable file", Detail: fmt.Sprintf("%s. Check -var-file.", err)}}
	}
	return s.useVariables(src, path, vars, false)
}

// VarTextName is the file name in diagnostics about Inputs.VarText.
const VarTextName = "variables"

func (s *scope) useVarText(text string, vars map[string]*variable) hcl.Diagnostics {
	if text == "" {
		return nil
	}
	if bad := bounds.Size([]byte(text), VarTextName, bounds.DefinitionBytes); bad != nil {
		return hcl.Diagnostics{bad}
	}
	return s.useVariables([]byte(text), VarTextName, vars, true)
}

// useVariables assigns the values of a variable file. Undeclared variables are errors unless lax.
func (s *scope) useVariables(src []byte, path string, vars map[string]*variable, lax bool) hcl.Diagnostics {
	file, diags := parseVarFile(src, path)
	if diags.HasErrors() {
		return diags
	}
	s.files[path] = file
	attrs, more := file.Body.JustAttributes()
	diags = append(diags, more...)
	for name, a := range attrs {
		v := vars[name]
		if v == nil && lax {
			continue
		}
		if v == nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Undefined variable", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("The job has no variable %q. Declare it with variable %q {}, or correct the name.", name, name)})
			continue
		}
		value, more := bounds.Value(a.Expr, nil)
		diags = append(diags, more...)
		if !more.HasErrors() {
			diags = append(diags, v.assign(name, value, path, a.Expr.Range().Ptr())...)
		}
	}
	return diags
}

// parseVarFile parses a file with values of variables, in HCL or JSON.
func parseVarFile(src []byte, path string) (*hcl.File, hcl.Diagnostics) {
	if json, marked := bytes.CutPrefix(src, []byte(byteOrderMark)); marked && isJSON(json) { // Nomad's own parser reads the file too
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Byte order mark in a variable file",
			Detail: fmt.Sprintf("%s begins with a byte order mark, with which Nomad does not recognize JSON. Save the file as UTF-8 without one.", path)}}
	}
	if isJSON(src) {
		if at := bounds.JSON(src); at >= 0 {
			return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nested too deeply", Detail: fmt.Sprintf("%s is nested more than %d levels deep.", path, bounds.Levels)}}
		}
		return json.Parse(src, path)
	}
	if bad := bounds.HCL(src, path, bounds.DefinitionBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	return file, append(diags, bounds.Meter(file.Body.(*hclsyntax.Body))...)
}

const byteOrderMark = "\ufeff"

// isJSON reports whether Nomad reads a text as JSON (jobspec2.isJSON).
func isJSON(src []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(src, " "), []byte("{")) }
