package jsonjob

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
)

// Tree returns the whole job with earlier injections. It uses the names of job files, as Nomad's
// API types declare them; fields that these lack are left out.
func (f *File) Tree() (*job.Node, hcl.Diagnostics) { return Tree(f.source, f.name) }

// Tree is File.Tree for a job or request in JSON.
func Tree(src []byte, name string) (*job.Node, hcl.Diagnostics) {
	f := newFile(src, name, nil)
	doc, err := parseJSON(src)
	if err != nil {
		return nil, hcl.Diagnostics{diagnostic.Error(f.at(0), "Invalid JSON", err.Error())}
	}
	root := doc.root
	if inner := root.get("Job"); inner != nil {
		root = inner
	}
	return f.node("job", root, reflect.TypeFor[api.Job]()), nil
}

// hclField is a field of an API type with its name in job files.
type hclField struct {
	name  string // in JSON
	hcl   string
	block bool
	label bool
	of    reflect.Type
}

// treeFields caches a []hclField for each reflect.Type.
var treeFields sync.Map

func hclFields(t reflect.Type) []hclField {
	if known, ok := treeFields.Load(t); ok {
		return known.([]hclField)
	}
	var out []hclField
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("hcl")
		if !ok || f.Anonymous {
			continue
		}
		name, kind, _ := strings.Cut(tag, ",")
		h := hclField{name: f.Name, hcl: name, block: kind == "block", label: kind == "label", of: f.Type}
		if h.hcl == "reserved_ports" {
			h.hcl = "port"
		}
		out = append(out, h)
	}
	treeFields.Store(t, out)
	return out
}

// node reads an object as a block.
func (f *File) node(typ string, n *node, t reflect.Type) *job.Node {
	out := job.NewNode(typ, f.at(n.start))
	for _, h := range hclFields(t) {
		it := n.member(h.name)
		if it == nil || it.value.isNull() {
			continue
		}
		switch {
		case h.label:
			out.Labels = append(out.Labels, it.value.str())
		case h.block:
			f.blocks(out, h, it.value)
		case h.of.Kind() == reflect.Pointer || !isZero(it.value):
			out.Attrs[h.hcl] = job.Setting{Value: toCty(it.value), Range: f.at(it.value.start)}
		}
	}
	return out
}

// isZero reports whether a value equals the default of an absent field.
func isZero(n *node) bool {
	if n.kind != 0 {
		return len(n.items) == 0
	}
	return slices.Contains([]string{`""`, "0", "false"}, n.text)
}

// blocks adds the blocks of a field.
func (f *File) blocks(to *job.Node, h hclField, n *node) {
	t := h.of
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && n.kind == '[':
		one := h
		one.of = t.Elem()
		for _, it := range n.items {
			f.blocks(to, one, it.value)
		}
	case n.kind != '{':
	case t.Kind() == reflect.Struct:
		to.Blocks = append(to.Blocks, f.node(h.hcl, n, t))
	case t.Kind() == reflect.Map && inner(t.Elem()).Kind() == reflect.Struct:
		for _, it := range n.items {
			if it.value.kind == '{' {
				b := f.node(h.hcl, it.value, inner(t.Elem()))
				b.Labels = []string{strings.Clone(it.name)}
				to.Blocks = append(to.Blocks, b)
			}
		}
	case t.Kind() == reflect.Map:
		to.Blocks = append(to.Blocks, f.mapNode(h.hcl, n))
	}
}

func inner(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// mapNode reads an object with any keys as a block.
func (f *File) mapNode(typ string, n *node) *job.Node {
	out := job.NewNode(typ, f.at(n.start))
	for _, it := range n.items {
		if !it.value.isNull() {
			out.Attrs[strings.Clone(it.name)] = job.Setting{Value: toCty(it.value), Range: f.at(it.value.start)}
		}
	}
	return out
}
