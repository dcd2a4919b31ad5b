package sidecar

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// Body is the evaluated content of an HCL block, in the order of its definition.
type Body []Item

// Item is an element of a Body: *Attr or *Block.
type Item interface{ item() }

// Attr is an attribute with a value that is wholly known and not null. Its strings may
// contain runtime references such as ${NOMAD_PORT_http}, unevaluated.
type Attr struct {
	Name  string
	Value cty.Value
	Range hcl.Range // position in the definition
}

// Block is a nested block.
type Block struct {
	Type   string
	Labels []string
	Body   Body
	Range  hcl.Range // header of the block in the definition
}

func (*Attr) item()  {}
func (*Block) item() {}

// Attr returns the attribute called name, or nil.
func (b Body) Attr(name string) *Attr {
	for _, it := range b {
		if a, ok := it.(*Attr); ok && a.Name == name {
			return a
		}
	}
	return nil
}

// Blocks returns the nested blocks of one type.
func (b Body) Blocks(typ string) []*Block {
	var out []*Block
	for _, it := range b {
		if blk, ok := it.(*Block); ok && blk.Type == typ {
			out = append(out, blk)
		}
	}
	return out
}

// String returns the value of a string attribute, or "" if there is none.
func (b Body) String(name string) string {
	a := b.Attr(name)
	if a == nil || a.Value.Type() != cty.String {
		return ""
	}
	return a.Value.AsString()
}

// Label returns the first label, or "".
func (b *Block) Label() string {
	if len(b.Labels) == 0 {
		return ""
	}
	return b.Labels[0]
}

// WithMeta returns a copy of a task block with the pairs added to its meta.
// Meta becomes an attribute, because the keys of a block cannot contain dots.
// A pair replaces an entry with the same name.
func (b *Block) WithMeta(pairs map[string]string) *Block {
	merged := map[string]cty.Value{}
	body := make(Body, 0, len(b.Body)+1)
	for _, it := range b.Body {
		switch it := it.(type) {
		case *Attr:
			if it.Name == "meta" {
				for k, v := range it.Value.AsValueMap() {
					merged[k] = v
				}
				continue
			}
		case *Block:
			if it.Type == "meta" {
				for _, m := range it.Body {
					if a, ok := m.(*Attr); ok {
						merged[a.Name] = a.Value
					}
				}
				continue
			}
		}
		body = append(body, it)
	}
	for k, v := range pairs {
		merged[k] = cty.StringVal(v)
	}
	body = append(body, &Attr{Name: "meta", Value: cty.ObjectVal(merged), Range: b.Range})
	return &Block{Type: b.Type, Labels: slices.Clone(b.Labels), Body: body, Range: b.Range}
}

// size returns the approximate bytes of a body.
func (b Body) size() int {
	n := 0
	for _, it := range b {
		switch it := it.(type) {
		case *Attr:
			n += len(it.Name) + bounds.SizeOf(it.Value)
		case *Block:
			n += it.size()
		}
	}
	return n
}

func (b *Block) size() int { return len(b.Type) + b.Body.size() }
