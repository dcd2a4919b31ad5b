package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
)

// Limits of the input. Kubernetes stores objects of up to 1.5 MiB.
const (
	// FileBytes limits a file.
	FileBytes = bounds.HCLBytes
	// maxDocuments limits the documents of all files, and the items of lists.
	maxDocuments = 2000
	// maxNodes limits the values of a document after its aliases are resolved.
	maxNodes = 200_000
	// maxDepth limits nesting. The types that are decoded nest 20 levels deep.
	maxDepth = 100
)

// Source is a file.
type Source struct {
	Name  string
	Bytes []byte
}

// object is an object of a manifest.
type object struct {
	file      Source
	number    int // of its document in the file, from 1
	startLine int // of its document
	node      *yaml.Node
	prefix    string // "items[3]." in a List
	raw       []byte // JSON

	apiVersion, kind, name, namespace string
	value                             any // pointer to a type of k8s.io/api; nil for a kind that is not read
	used                              bool
}

// String returns the object's kind and name.
func (o *object) String() string { return fmt.Sprintf("%s %q", o.kind, o.name) }

func problem(at hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at.Ptr()}
}

// read reads all objects of a file.
func (im *importer) read(file Source) {
	if bad := bounds.Size(file.Bytes, file.Name, FileBytes); bad != nil {
		im.diags = append(im.diags, bad)
		return
	}
	for _, d := range split(file) {
		if im.documents++; im.documents > maxDocuments {
			im.diags = append(im.diags, problem(d.position(""), "Too many documents", "All files together may have %d documents and items of lists. Import them in parts.", maxDocuments))
			return
		}
		im.document(d)
	}
}

// split returns the documents of a file, at lines that begin with "---" as kubectl does.
func split(file Source) []*object {
	var out []*object
	var text []byte
	start, line := 1, 0
	add := func() {
		out = append(out, &object{file: file, number: len(out) + 1, startLine: start, raw: text})
	}
	for l := range bytes.Lines(file.Bytes) {
		line++
		if bytes.HasPrefix(l, []byte("---")) && (len(bytes.TrimSpace(l)) == 3 || l[3] == ' ' || l[3] == '\t') {
			if line > 1 {
				add()
			}
			start, text = line, append([]byte("   "), l[3:]...)
			continue
		}
		text = append(text, l...)
	}
	add()
	return out
}

// document checks a document and adds its objects. One with comments only is ignored.
func (im *importer) document(o *object) {
	node, err := parseYAML(o.raw)
	if err != nil {
		im.notYAML(o, err)
		return
	}
	if node == nil {
		return
	}
	o.node = node
	if bad := measureNode(node); bad != "" {
		im.diags = append(im.diags, problem(o.position(""), "Document too large", "Document %d %s.", o.number, bad))
		return
	}
	raw, err := kyaml.YAMLToJSONStrict(o.raw)
	if err != nil {
		im.notYAML(o, err)
		return
	}
	o.raw = raw
	im.objectOf(o)
}

// notYAML reports a document that is not YAML.
func (im *importer) notYAML(o *object, err error) {
	const most = 200
	text := err.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	if bytes.Contains(o.raw, []byte("{{")) {
		text += ". It seems to be a template, such as those of Helm: render it first"
	}
	im.diags = append(im.diags, problem(lineRange(o.file, o.startLine+errorLine(err)-1), "Not YAML", "Document %d cannot be read: %s.", o.number, text))
}

// parseYAML returns the nodes of a document, nil for an empty one.
func parseYAML(text []byte) (*yaml.Node, error) {
	var node, next yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	err := d.Decode(&node)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		if err := d.Decode(&next); !errors.Is(err, io.EOF) {
			return nil, errors.New("it has a second document without a line --- before it")
		}
		if len(node.Content) == 1 && node.Content[0].Tag == "!!null" {
			return nil, nil
		}
	}
	return &node, err
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// errorLine returns the line that an error of the parser names, else 1.
func errorLine(err error) int {
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return 1
}

// measureNode returns the reason why a document is too large with its aliases resolved, or "".
func measureNode(node *yaml.Node) string {
	sizes := map[*yaml.Node]int{}
	var size func(n *yaml.Node, depth int) int
	deep := false
	size = func(n *yaml.Node, depth int) int {
		if depth > maxDepth {
			deep = true
			return 0
		}
		if known, ok := sizes[n]; ok {
			return known
		}
		total := 1
		if n.Kind == yaml.AliasNode {
			total += size(n.Alias, depth+1) // an alias in its own anchor ends at maxDepth
		}
		for _, c := range n.Content {
			total = min(total+size(c, depth+1), maxNodes+1)
		}
		if n.Kind != yaml.AliasNode {
			sizes[n] = total
		}
		return total
	}
	switch total := size(node, 0); {
	case deep:
		return fmt.Sprintf("nests more than %d levels deep, or has an alias that contains itself", maxDepth)
	case total > maxNodes:
		return fmt.Sprintf("has more than %d values with its aliases resolved", maxNodes)
	}
	return ""
}

// header is the part of an object that all kinds have.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

// objectOf adds the object of a document, or the items of a list.
func (im *importer) objectOf(o *object) {
	var h header
	if err := kjson.UnmarshalCaseSensitivePreserveInts(o.raw, &h); err != nil {
		im.diags = append(im.diags, problem(o.position(""), "Not a manifest", "Document %d is not a Kubernetes object: %s.", o.number, err))
		return
	}
	o.apiVersion, o.kind, o.name, o.namespace = h.APIVersion, h.Kind, h.Metadata.Name, h.Metadata.Namespace
	switch {
	case o.kind == "" || o.apiVersion == "":
		im.diags = append(im.diags, problem(o.position(""), "Not a manifest", "Document %d has no kind or no apiVersion. Is it a template, such as those of Helm? Render it first.", o.number))
	case strings.HasSuffix(o.kind, "List") && h.Items != nil:
		im.list(o, h.Items)
	default:
		im.decode(o)
	}
}

func (im *importer) list(of *object, items []json.RawMessage) {
	for i, raw := range items {
		if im.documents++; im.documents > maxDocuments {
			im.diags = append(im.diags, problem(of.position(""), "Too many documents", "All files together may have %d documents and items of lists. Import them in parts.", maxDocuments))
			return
		}
		o := *of
		o.prefix, o.raw = fmt.Sprintf("%sitems[%d].", of.prefix, i), raw
		if strings.Count(o.prefix, "items[") > 4 {
			im.diags = append(im.diags, problem(o.position(""), "Nested too deeply", "Lists contain lists more than four levels deep."))
			return
		}
		im.objectOf(&o)
	}
}
