package templater

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Secrets returns the known texts of sensitive parameters, which callers must remove from
// everything they print about a job. Invalid values are included, as errors about them are
// printed as well. A result computed from a value by an expression, such as a hash, is not
// found.
func Secrets(j *job.Job, catalog job.Catalog, flags Flags, choices []*Choice) []string {
	s := secrets{catalog: catalog}
	for _, name := range catalog.Names() {
		for _, d := range catalog.Versions(name) {
			for _, p := range d.Parameters {
				if p.Sensitive && !p.Required() {
					s.add(p.Default)
				}
			}
		}
	}
	for name, args := range flags.Params {
		s.arguments(name, args)
	}
	s.requests(j.Requests)
	s.meta(j.Meta)
	for _, g := range j.Groups {
		s.requests(g.Requests)
		s.meta(g.Meta)
		if flags.Policy == nil {
			continue
		}
		orders, _ := flags.Policy.Orders(j, g) // Choose reports the errors
		for _, o := range orders {
			s.arguments(o.Sidecar, o.Arguments)
		}
	}
	for _, c := range choices {
		for _, p := range c.Definition.Parameters {
			if v, ok := c.Values[p.Name]; ok && (p.Sensitive || c.Sensitive[p.Name]) {
				s.add(v)
			}
		}
		for _, o := range c.Outputs {
			if o.Sensitive {
				s.add(o.Value)
			}
		}
	}
	slices.Sort(s.found)
	return slices.Compact(s.found)
}

type secrets struct {
	catalog job.Catalog
	found   []string
}

func (s *secrets) requests(list []*job.Request) {
	for _, r := range list {
		s.arguments(r.Sidecar, r.Arguments)
	}
}

func (s *secrets) meta(meta map[string]job.Text) {
	for key, text := range meta {
		if name, parameter, ok := strings.Cut(strings.TrimPrefix(key, metaPrefix), "."); ok && strings.HasPrefix(key, metaPrefix) {
			s.argument(name, parameter, cty.StringVal(text.Value))
		}
	}
}

func (s *secrets) arguments(name string, args map[string]sidecar.Argument) {
	for parameter, arg := range args {
		s.argument(name, parameter, arg.Value)
	}
}

func (s *secrets) argument(name, parameter string, v cty.Value) {
	for _, d := range s.catalog.Versions(name) {
		for _, p := range d.Parameters {
			if p.Name == parameter && p.Sensitive {
				s.add(v)
			}
		}
	}
}

// add collects the texts in a value. True and false are not secrets.
func (s *secrets) add(v cty.Value) {
	if v == cty.NilVal || !v.IsWhollyKnown() {
		return
	}
	// The callback returns no error, so the walk always completes.
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if !v.IsNull() && (v.Type() == cty.String || v.Type() == cty.Number) {
			text, _ := convert.Convert(v, cty.String) // numbers always convert
			s.found = append(s.found, text.AsString())
		}
		return true, nil
	})
}
