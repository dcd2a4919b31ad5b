package policy

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// analysis is the content of all analyze blocks of a policy.
type analysis struct {
	settings analyze.Settings
	codes    map[string]hcl.Range // where a code is set
	memory   *hcl.Range           // where the limit is set
}

// Analysis returns the settings of the policy for "nomad-sidecar analyze".
func (p *Policy) Analysis() analyze.Settings { return p.analysis.settings }

func (a *analysis) decode(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(&hcl.BodySchema{
		Attributes: attributes("memory"),
		Blocks:     []hcl.BlockHeaderSchema{{Type: "code", LabelNames: []string{"code"}}},
	})
	if m := content.Attributes["memory"]; m != nil {
		diags = append(diags, a.decodeMemory(m)...)
	}
	for _, c := range content.Blocks {
		diags = append(diags, a.decodeCode(c)...)
	}
	return diags
}

func (a *analysis) decodeMemory(m *hcl.Attribute) hcl.Diagnostics {
	if a.memory != nil {
		return hcl.Diagnostics{diagnostic.Error(m.NameRange, "Duplicate memory limit", fmt.Sprintf("The limit is already set at %s. Remove one of them.", a.memory))}
	}
	a.memory = m.NameRange.Ptr()
	diags := gohcl.DecodeExpression(m.Expr, nil, &a.settings.MemoryMB)
	if !diags.HasErrors() && a.settings.MemoryMB < 1 {
		return hcl.Diagnostics{diagnostic.Error(m.Expr.Range(), "Invalid memory limit", "memory is the MB that an allocation may reserve, at least 1.")}
	}
	return diags
}

func (a *analysis) decodeCode(b *hcl.Block) hcl.Diagnostics {
	id := b.Labels[0]
	if _, ok := analyze.Find(id); !ok {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Unknown code", fmt.Sprintf("There is no code %q. They are in docs/analyze.md.", id))}
	}
	if first, ok := a.codes[id]; ok {
		return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Duplicate code", fmt.Sprintf("The severity of %s is already set at %s. Remove one of them.", id, first))}
	}
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attributes("severity!")})
	attr := content.Attributes["severity"]
	if attr == nil {
		return diags
	}
	var name string
	if diags = append(diags, gohcl.DecodeExpression(attr.Expr, nil, &name)...); diags.HasErrors() {
		return diags
	}
	severity, err := analyze.ParseSeverity(name)
	if err != nil {
		return hcl.Diagnostics{diagnostic.Error(attr.Expr.Range(), "Invalid severity", fmt.Sprintf("%s.", err))}
	}
	if a.codes == nil {
		a.codes, a.settings.Severities = map[string]hcl.Range{}, map[string]analyze.Severity{}
	}
	a.codes[id], a.settings.Severities[id] = b.DefRange, severity
	return diags
}
