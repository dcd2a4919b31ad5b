package kube

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"go.yaml.in/yaml/v3"
)

// position returns the position of a path in a document: of the key, or of the closest parent in
// the document.
func (o *object) position(path string) hcl.Range {
	line := o.startLine
	if o.node != nil {
		line = max(line, o.startLine+locate(o.node, o.prefix+path)-1)
	}
	return lineRange(o.file, line)
}

// lineRange returns the range of a whole line.
func lineRange(file Source, line int) hcl.Range {
	start := 0
	for range line - 1 {
		i := bytes.IndexByte(file.Bytes[start:], '\n')
		if i < 0 {
			break
		}
		start += i + 1
	}
	end := len(file.Bytes)
	if i := bytes.IndexByte(file.Bytes[start:], '\n'); i >= 0 {
		end = start + i
	}
	return hcl.Range{
		Filename: file.Name,
		Start:    hcl.Pos{Line: line, Column: 1, Byte: start},
		End:      hcl.Pos{Line: line, Column: end - start + 1, Byte: end},
	}
}

// locate returns the line of a path below a document's node, as far as the path exists.
func locate(node *yaml.Node, path string) int {
	at := node
	for at.Kind == yaml.DocumentNode && len(at.Content) > 0 {
		at = at.Content[0]
	}
	line := at.Line
	for _, step := range steps(path) {
		for at.Kind == yaml.AliasNode {
			at = at.Alias
		}
		next, key := child(at, step)
		if next == nil {
			break
		}
		at, line = next, key.Line
	}
	return line
}

// steps splits a path at dots and brackets: a[1].b is a, 1, b. A key with a dot is not found then,
// and the parent's line applies.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// child returns the value of a step, and the node with its position.
func child(at *yaml.Node, step string) (value, key *yaml.Node) {
	switch at.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == step {
				return at.Content[i+1], at.Content[i]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i < len(at.Content) {
			return at.Content[i], at.Content[i]
		}
		for _, c := range at.Content { // the path has no index: the first item with the key
			if c.Kind != yaml.MappingNode {
				continue
			}
			if v, k := child(c, step); v != nil {
				return v, k
			}
		}
	}
	return nil, nil
}
