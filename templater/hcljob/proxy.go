package hcljob

import (
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// firstProxy returns the first of the proxies at the end of a group; see job.IsProxy.
func firstProxy(group block, view *job.Group) *hclsyntax.Block {
	return firstOfLast(group.Body, "task", func(b *hclsyntax.Block) (last, skip bool) {
		return slices.ContainsFunc(view.Proxies, func(t *job.Task) bool { return t.Range == b.DefRange() }), false
	})
}

// firstMapped returns the first of the ports at the end of a network that have the To of
// a proxy's port. Static ports are in a separate list of Nomad's.
func firstMapped(network block, view *job.Network) *hclsyntax.Block {
	return firstOfLast(network.Body, "port", func(b *hclsyntax.Block) (last, skip bool) {
		last, skip = true, true
		for _, p := range view.Ports {
			if p.Range == b.DefRange() && p.Static == 0 {
				last, skip = last && p.To == job.ProxyPortTo, false
			}
		}
		return last, skip
	})
}

// firstOfLast returns the first of the trailing blocks of a type for which is returns last;
// nil if there are none. Blocks with skip are ignored.
func firstOfLast(in *hclsyntax.Body, blockType string, is func(*hclsyntax.Block) (last, skip bool)) *hclsyntax.Block {
	var first *hclsyntax.Block
	for _, b := range in.Blocks {
		if madeBy(b) != blockType {
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
func (p *patch) precede(in block, b *hclsyntax.Block, body sidecar.Body) bool {
	p.checkIterators(in, body)
	at, alone := lineStart(p.src, b.TypeRange.Start.Byte)
	if !alone {
		return false
	}
	s := p.style
	s.Indent = p.indent(b.DefRange())
	p.insert(at, inPlace, s.Indent, p.made(body.HCL(s)), nil)
	return true
}
