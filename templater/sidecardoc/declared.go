package sidecardoc

import (
	"fmt"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Declared has the deprecation, the outputs and the examples of a definition.
type Declared struct {
	// Deprecated says what to use instead; "" if the definition is not deprecated.
	Deprecated string
	// Outputs are the values for other sidecars. Detail is the value in a sample group.
	Outputs []Item
	// Examples are the examples of the definition.
	Examples []Example
}

// Example is a use of the sidecar. HCL is a group, or a whole job.
type Example struct {
	Name, Description, HCL string
}

func declared(d *sidecar.Definition) Declared {
	out := Declared{Deprecated: d.Deprecated}
	results := d.SampleOutputs()
	for _, o := range d.Outputs {
		item := Item{Kind: "output", Name: "sidecar." + d.Name + "." + o.Name, Description: o.Description}
		if r, ok := results[o.Name]; ok && !r.Sensitive {
			item.Detail = oneLine(r.Value)
		} else if ok {
			item.Detail = "(sensitive)"
		}
		out.Outputs = append(out.Outputs, item)
	}
	for _, e := range d.Examples {
		text := e.Job
		if text == "" {
			body := sidecar.Body{}
			for _, p := range e.Parameters {
				body = append(body, &sidecar.Attr{Name: p.Name, Value: p.Value})
			}
			text = groupWith(d, body)
		}
		out.Examples = append(out.Examples, Example{e.Name, e.Description, strings.TrimRight(text, "\n") + "\n"})
	}
	return out
}

// shown returns the examples of the definition, or else the generated one.
func (p *Page) shown() []Example {
	if len(p.Examples) == 0 {
		return []Example{{HCL: p.Example}}
	}
	return p.Examples
}

// note returns the description of a parameter, after a note about its deprecation.
func (p Parameter) note() string {
	if p.Deprecated == "" {
		return p.Description
	}
	return strings.TrimSpace(fmt.Sprintf("Deprecated: %s %s", p.Deprecated, p.Description))
}

// deprecation returns a sentence about a deprecated definition, or "".
func (p *Page) deprecation() string {
	if p.Deprecated == "" {
		return ""
	}
	return "Deprecated: " + p.Deprecated
}
