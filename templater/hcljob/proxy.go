package hcljob

import (
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// firstProxy returns the first of the proxies at the end of a group; see job.IsProxy.
func firstProxy(group *hclsyntax.Block, view *job.Group) *hclsyntax.Block {
	return firstOfLast(group, "task", func(b *hclsyntax.Block) (last, skip bool) {
		return slices.ContainsFunc(view.Proxies, func(t *job.Task) bool { return t.Range == b.DefRange() }), false
	})
}

// firstMapped returns the first of the ports at the end of a network that have the To of
// a proxy's port. Static ports are in a separate list of Nomad's.
func firstMapped(network *hclsyntax.Block, view *job.Network) *hclsyntax.Block {
	return firstOfLast(network, "port", func(b *hclsyntax.Block) (last, skip bool) {
		i := slices.IndexFunc(view.Ports, func(p job.Port) bool { return p.Range == b.DefRange() })
		return i >= 0 && view.Ports[i].To == job.ProxyPortTo, i >= 0 && view.Ports[i].Static != 0
	})
}

// firstOfLast returns the first of the trailing blocks of a type for which is returns last;
// nil if there are none. Blocks with skip are ignored.
func firstOfLast(in *hclsyntax.Block, blockType string, is func(*hclsyntax.Block) (last, skip bool)) *hclsyntax.Block {
	var first *hclsyntax.Block
	for _, b := range in.Body.Blocks {
		if b.Type != blockType {
			continue
		}
		switch last, skip := is(b); {
		case skip:
		case !last:
			first = nil
		case first == nil:
			first = b
		}
	}
	return first
}

// precede adds a body before a block. It returns false if the block shares its line.
func (p *patch) precede(b *hclsyntax.Block, body sidecar.Body) bool {
	at, alone := lineStart(p.src, b.TypeRange.Start.Byte)
	if !alone {
		return false
	}
	s := p.style
	s.Indent = p.indent(b.DefRange())
	p.insert(at, inPlace, s.Indent, p.made(body.HCL(s)), nil)
	return true
}
