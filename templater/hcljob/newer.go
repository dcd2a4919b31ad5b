package hcljob

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// newerField reports whether an error is about a name that a newer parser may know. The parser
// returns its diagnostics as text.
func newerField(err error) bool {
	for _, summary := range []string{"Unsupported argument", "Unsupported block type", "Call to unknown function"} {
		if strings.Contains(err.Error(), summary) {
			return true
		}
	}
	return false
}

// parsedByNomad returns the job as Nomad's API parses it. unknown is the error of the built-in
// parser.
func (f *File) parsedByNomad(text []byte, unknown error) ([]byte, hcl.Diagnostics) {
	failed := func(detail string) ([]byte, hcl.Diagnostics) {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nomad cannot parse the job", Detail: detail}}
	}
	if f.inputs.ParseJob == nil {
		return failed(fmt.Sprintf("%s Correct the name. If only a Nomad newer than %s knows it, set NOMAD_ADDR, so that this Nomad parses the job.", unknown, sidecar.ParserVersion))
	}
	raw, err := f.inputs.ParseJob(string(text), f.scope.variableFile())
	if err != nil && !strings.Contains(err.Error(), "input.hcl:") { // Nomad did not read the job
		return failed(fmt.Sprintf("%s Correct the name. If only a Nomad newer than %s knows it, that Nomad must parse the job, but: %s.", unknown, sidecar.ParserVersion, err))
	}
	if err != nil {
		return failed(strings.ReplaceAll(err.Error(), "input.hcl:", f.name+":"))
	}
	var out bytes.Buffer
	if err := json.Indent(&out, fmt.Appendf(nil, `{"Job":%s}`, raw), "", "    "); err != nil {
		return failed("Nomad's answer is not JSON: " + err.Error())
	}
	out.WriteByte('\n')
	return out.Bytes(), hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "Parsed by Nomad", Detail: fmt.Sprintf(
		"The parser of this program, of Nomad %s, does not know a part of the job, so Nomad's API parsed it: %s", sidecar.ParserVersion, unknown)}}
}

// variableFile returns the values of all variables as the text of a variable file.
func (s *scope) variableFile() string {
	out := hclwrite.NewEmptyFile()
	values := s.ctx.Variables["var"].AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name]; v.IsWhollyKnown() && !v.IsNull() {
			out.Body().SetAttributeValue(name, v)
		}
	}
	return string(out.Bytes())
}
