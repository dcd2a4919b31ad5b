package job

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Node is a block of a job with everything in it, by the names that job files use. Unlike Job,
// which has what injection needs, it has every field. Nodes of a job in JSON omit fields with an
// empty value that Nomad does not distinguish from an absent one.
type Node struct {
	Type   string
	Labels []string
	Attrs  map[string]Setting
	Blocks []*Node
	// More has the reasons why there may be other blocks, by their type, or other attributes, by
	// "".
	More  map[string]*diagnostic.Unknown
	Range hcl.Range
}

// NewNode returns an empty node.
func NewNode(typ string, at hcl.Range) *Node {
	return &Node{Type: typ, Attrs: map[string]Setting{}, Range: at}
}

// NodeOf returns a block of a definition as a node.
func NodeOf(b *sidecar.Block) *Node {
	n := NewNode(b.Type, b.Range)
	n.Labels = slices.Clone(b.Labels)
	for _, it := range b.Body {
		switch it := it.(type) {
		case *sidecar.Attr:
			if !n.Expand(it.Name, Setting{Value: it.Value, Range: it.Range}) {
				n.Attrs[it.Name] = Setting{Value: it.Value, Range: it.Range}
			}
		case *sidecar.Block:
			n.Blocks = append(n.Blocks, NodeOf(it))
		}
	}
	return n
}

// Expand adds an attribute env or meta as a block, because job files may contain either. It
// returns false for other attributes and for values that are not known maps.
func (n *Node) Expand(name string, s Setting) bool {
	if name != "env" && name != "meta" {
		return false
	}
	if v := s.Value; !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return false
	}
	b := NewNode(name, s.Range)
	for key, v := range s.Value.AsValueMap() {
		b.Attrs[key] = Setting{Value: v, Range: s.Range}
		if !v.IsWhollyKnown() {
			b.Attrs[key] = Setting{Value: v, Unknown: s.Unknown, Range: s.Range}
		}
	}
	n.Blocks = append(n.Blocks, b)
	return true
}

// MayHave records that there may be other blocks of a type, or other attributes for "".
func (n *Node) MayHave(typ string, why *diagnostic.Unknown) {
	if n.More == nil {
		n.More = map[string]*diagnostic.Unknown{}
	}
	n.More[typ] = why
}

// All returns the blocks of a type. complete is false if there may be others.
func (n *Node) All(typ string) (blocks []*Node, complete bool) {
	if n == nil {
		return nil, true
	}
	for _, b := range n.Blocks {
		if b.Type == typ {
			blocks = append(blocks, b)
		}
	}
	return blocks, n.More[typ] == nil
}

// First returns the first block of a type, or nil.
func (n *Node) First(typ string) *Node {
	if all, _ := n.All(typ); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Label returns the first label, or "".
func (n *Node) Label() string {
	if n == nil || len(n.Labels) == 0 {
		return ""
	}
	return n.Labels[0]
}
