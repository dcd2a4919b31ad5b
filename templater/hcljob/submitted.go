package hcljob

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// Submitted returns the variables of a job file in the form of Nomad's job submission: plain
// text as flags, everything else as the text of a variable file. Nomad's UI appends the
// flags to that text as quoted strings, so each name is in one of the two only, once.
// Variables that the job does not declare are dropped. The source and the files must have
// been read without errors before.
func Submitted(src []byte, in Inputs, files [][]byte) (flags map[string]string, text string) {
	s := &submitted{flags: map[string]string{}, given: map[string]bool{}}
	file, diags := hclsyntax.ParseConfig(src, "", hcl.InitialPos)
	if diags.HasErrors() {
		return s.flags, ""
	}
	s.vars, _ = declared(file.Body.(*hclsyntax.Body))
	for _, arg := range slices.Backward(in.Vars) {
		s.set(arg)
	}
	for _, src := range slices.Backward(files) {
		s.text = s.unset(src) + s.text
	}
	for _, e := range slices.Backward(in.Env) {
		if arg, ok := strings.CutPrefix(e, jobspec2.VarEnvPrefix); ok {
			s.set(arg)
		}
	}
	return s.flags, s.text
}

// submitted collects variables from the strongest to the weakest.
type submitted struct {
	vars  map[string]*variable
	given map[string]bool
	flags map[string]string
	text  string
}

// set adds a variable, "name=value", unless it is given already.
func (s *submitted) set(arg string) {
	name, value, _ := strings.Cut(arg, "=")
	v := s.vars[name]
	if v == nil || s.given[name] {
		return
	}
	s.given[name] = true
	isText := v.typ == cty.NilType || v.typ == cty.String || v.typ == cty.Number
	switch {
	case !isText:
		s.text += name + " = " + strings.TrimSpace(value) + "\n"
	case strings.Contains(value, "${") || strings.Contains(value, "%{"):
		s.text += name + " = " + string(hclwrite.TokensForValue(cty.StringVal(value)).Bytes()) + "\n"
	default:
		s.flags[name] = value
	}
}

// unset returns a variable file without the variables that are given already.
func (s *submitted) unset(src []byte) string {
	if isJSON(src) {
		src = inHCL(src)
	}
	f, diags := hclwrite.ParseConfig(src, "", hcl.InitialPos)
	if diags.HasErrors() {
		return string(src)
	}
	for name := range f.Body().Attributes() {
		if s.given[name] {
			f.Body().RemoveAttribute(name)
		}
		s.given[name] = true
	}
	return string(bytes.TrimRight(f.Bytes(), "\n")) + "\n"
}

// inHCL returns a variable file in JSON as HCL, so that others can be added to it.
func inHCL(src []byte) []byte {
	f := hclwrite.NewEmptyFile()
	parsed, diags := parseVarFile(src, "")
	if diags.HasErrors() {
		return src
	}
	attrs, _ := parsed.Body.JustAttributes()
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		v, diags := bounds.Value(attrs[name].Expr, nil)
		if diags.HasErrors() {
			return src
		}
		f.Body().SetAttributeValue(name, v)
	}
	return f.Bytes()
}
