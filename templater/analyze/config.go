package analyze

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// config is the driver config of a task. A block of a job file is a list of objects in JSON; config
// reads both.
type config struct{ node *job.Node }

// partial reports whether there may be other keys.
func (c *config) partial() bool { return c.node != nil && len(c.node.More) > 0 }

// names returns the keys, sorted.
func (c *config) names() []string {
	if c.node == nil {
		return nil
	}
	names := slices.Collect(maps.Keys(c.node.Attrs))
	for _, b := range c.node.Blocks {
		names = append(names, b.Type)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// get returns the value of a key, and false if it is missing, null or empty, which the drivers do
// not distinguish. The value of a block is unknown.
func (c *config) get(name string) (job.Setting, bool) {
	if c.node == nil {
		return job.Setting{}, false
	}
	if s, ok := c.node.Attrs[name]; ok {
		return s, !isEmpty(s)
	}
	if b := c.node.First(name); b != nil {
		return job.Setting{Value: cty.DynamicVal, Range: b.Range}, true
	}
	return job.Setting{}, false
}

// may reports whether a key has a value, or may have one.
func (c *config) may(name string) bool {
	_, ok := c.get(name)
	return ok || c.partial()
}

// isEmpty reports whether a setting is known to have the value of a missing one.
func isEmpty(s job.Setting) bool {
	v := s.Value
	switch {
	case s.Unknown != nil || !v.IsKnown():
		return false
	case v.IsNull():
		return true
	case v.Type() == cty.String:
		return v.AsString() == ""
	case v.Type() == cty.Number:
		return v.AsBigFloat().Sign() == 0
	case v.Type() == cty.Bool:
		return v.False()
	case v.CanIterateElements():
		return v.LengthInt() == 0
	}
	return false
}

// text reads a string; a missing key has no value.
func (c *config) text(name string) value[string] { return setting(c, name, toText) }

func setting[T any](c *config, name string, to func(cty.Value) (T, bool)) value[T] {
	s, ok := c.get(name)
	if !ok {
		return value[T]{Set: c.partial()}
	}
	return settingOf(s, to)
}

// list reads a list of strings.
func (c *config) list(name string) value[[]element] {
	s, ok := c.get(name)
	if !ok {
		return value[[]element]{Set: c.partial()}
	}
	return list(s)
}

// blocks returns the blocks of a name. known is false if there may be others.
func (c *config) blocks(name string) (out []*job.Node, known bool) {
	if c.node == nil {
		return nil, true
	}
	out, known = c.node.All(name)
	s, ok := c.node.Attrs[name]
	if !ok {
		return out, known
	}
	if !s.Value.IsKnown() || s.Value.IsNull() {
		return out, s.Value.IsKnown()
	}
	objects, ok := objectsOf(s.Value, s.Range)
	return append(out, objects...), known && ok
}

// block returns the only block of a name, as a config, or nil.
func (c *config) block(name string) *config {
	if all, known := c.blocks(name); known && len(all) == 1 {
		return &config{all[0]}
	}
	return nil
}

// objectsOf returns an object, or the objects of a list, as nodes.
func objectsOf(v cty.Value, at hcl.Range) (out []*job.Node, ok bool) {
	switch t := v.Type(); {
	case !v.IsKnown() || v.IsNull():
		return nil, false
	case t.IsObjectType() || t.IsMapType():
		n := job.NewNode("", at)
		for key, e := range v.AsValueMap() {
			n.Attrs[key] = job.Setting{Value: e, Range: at}
		}
		return []*job.Node{n}, true
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			one, ok := objectsOf(e, at)
			if !ok {
				return out, false
			}
			out = append(out, one...)
		}
		return out, true
	}
	return nil, false
}
