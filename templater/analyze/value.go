package analyze

import (
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// value is a field of a job. V is the zero value unless Known.
type value[T any] struct {
	V T
	// Set means that the author wrote something, Known that its value is V.
	Set, Known bool
	Range      hcl.Range
}

// Unknown reports whether the field has a value, but not which.
func (v value[T]) Unknown() bool { return v.Set && !v.Known }

// Or returns V, or a default if the field is not set.
func (v value[T]) Or(otherwise T) T {
	if !v.Set {
		return otherwise
	}
	return v.V
}

// read reads an attribute; to returns false for a value of another type.
func read[T any](n *job.Node, name string, to func(cty.Value) (T, bool)) value[T] {
	out := value[T]{}
	if n == nil {
		return out
	}
	s, ok := n.Attrs[name]
	if !ok {
		out.Set = n.More[""] != nil || n.More[name] != nil
		out.Range = n.Range
		return out
	}
	return settingOf(s, to)
}

func settingOf[T any](s job.Setting, to func(cty.Value) (T, bool)) value[T] {
	out := value[T]{Set: true, Range: s.Range}
	if s.Unknown != nil || !s.Value.IsWhollyKnown() || s.Value.IsNull() {
		return out
	}
	out.V, out.Known = to(s.Value)
	return out
}

// toText accepts strings without runtime references, which only a client resolves.
func toText(v cty.Value) (string, bool) {
	s, ok := toRaw(v)
	if !ok || strings.Contains(s, "${") {
		return "", false
	}
	return s, true
}

// toRaw accepts every string.
func toRaw(v cty.Value) (string, bool) {
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() || !s.IsKnown() {
		return "", false
	}
	return s.AsString(), true
}

func toNumber(v cty.Value) (int, bool) {
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() || !n.IsKnown() {
		return 0, false
	}
	i, _ := n.AsBigFloat().Int64()
	return int(i), true
}

func toBool(v cty.Value) (bool, bool) {
	b, err := convert.Convert(v, cty.Bool)
	if err != nil || b.IsNull() || !b.IsKnown() {
		return false, false
	}
	return b.True(), true
}

// toDuration accepts durations such as "5s" and, as in JSON, numbers of nanoseconds.
func toDuration(v cty.Value) (time.Duration, bool) {
	if v.Type() == cty.Number {
		n, ok := toNumber(v)
		return time.Duration(n), ok
	}
	s, ok := toText(v)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// element is an item of a list.
type element = value[string]

// toElements accepts lists of strings; items with runtime references are unknown.
func toElements(v cty.Value) ([]element, bool) {
	if !v.CanIterateElements() || v.Type().IsObjectType() || v.Type().IsMapType() {
		return nil, false
	}
	out := []element{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		out = append(out, settingOf(job.Setting{Value: e}, toText))
	}
	return out, true
}

// list reads a list of strings, item by item if some of them are unknown.
func list(s job.Setting) value[[]element] {
	out := value[[]element]{Set: true, Range: s.Range}
	if !s.Value.IsKnown() || s.Value.IsNull() {
		return out
	}
	out.V, out.Known = toElements(s.Value)
	return out
}
