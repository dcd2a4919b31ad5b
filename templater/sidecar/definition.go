package sidecar

import (
	"bytes"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/nomad-sidecar/nomad-sidecar/templater/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

// Definition is a parsed and checked sidecar definition. It is immutable and safe for
// concurrent use.
type Definition struct {
	Name    string
	Version *version.Version
	Summary string
	// Deprecated says what to use instead; "" if the definition is not deprecated.
	Deprecated string
	Parameters []*Parameter
	API        API
	Requires   Requires
	Outputs    []*Output
	Examples   []*Example
	// Digest is "sha256:" and the hash of the definition's meaning: comments,
	// layout and documentation are ignored.
	Digest string
	// Range is the header of the sidecar block.
	Range hcl.Range

	file *hcl.File
	// functions are the functions that expressions may call.
	functions map[string]function.Function
	locals    []*hclsyntax.Attribute // in source order
	// localNamed maps names to their first definition.
	localNamed map[string]*hclsyntax.Attribute
	tasks      []*hclsyntax.Block
	services   []*hclsyntax.Block
	volumes    []*hclsyntax.Block
	app        *hclsyntax.Block
	uses       []OutputRef
}

// API is the declared interface of a sidecar. Ports and environment variables are
// checked against the group and set there.
type API struct {
	Ports       []*Port
	Directories []*Directory
	Env         []*Env
	Signals     []*Signal
}

// Port is a port that the sidecar listens on inside the pod.
type Port struct {
	Label       string
	Description string
	Range       hcl.Range
	to          hcl.Expression
	enabled     *hcl.Attribute // nil means always
}

// Directory is a path that the sidecar reads or writes, relative to the mount points of
// the allocation directory. Access is "read", "write" or "readwrite".
type Directory struct {
	Path        string
	Access      string
	Description string
	Range       hcl.Range
}

// Env is an environment variable for app tasks. With Append, its value is added to the variable of a
// task, after Separator.
type Env struct {
	Name        string
	Description string
	Append      bool
	Separator   string
	Range       hcl.Range
	value       hcl.Expression
	enabled     *hcl.Attribute
}

// Signal is a signal that the sidecar handles.
type Signal struct {
	Name        string
	Description string
	Range       hcl.Range
}

// Requires lists a sidecar's requirements on its group.
type Requires struct {
	// Network lists the allowed network modes: "bridge", "cni" (any cni/ network), "host",
	// "none". Empty allows any.
	Network []string
	// Share lists namespaces that the app tasks must share with the pod.
	Share []string
	// RestartWith makes the app's main tasks stop and start with the sidecar's running tasks.
	RestartWith bool
	// Nomad constrains Nomad's version; nil allows any.
	Nomad version.Constraints
	// After names sidecars that start earlier if they are present.
	After []string
	// Conflicts names sidecars that must not be in the same group.
	Conflicts []string
	Range     hcl.Range
}

// File returns the parsed source, for diagnostics.
func (d *Definition) File() *hcl.File { return d.file }

// Filename returns the name that the definition was parsed under.
func (d *Definition) Filename() string { return d.Range.Filename }

// reservedNames cannot name a sidecar, since "sidecar.<name>" is a reserved key in meta.
var reservedNames = map[string]bool{
	"inject": true, "exclude": true, "name": true, "version": true,
	"digest": true, "origin": true, "added": true,
}

var sidecarName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// UnixLines returns a text with \n for each \r\n. Definitions and policies are read this way:
// git for Windows checks files out with \r\n, which is no reason for another digest, and a
// template of a shell script or a configuration with it does not work on a client.
func UnixLines(src []byte) []byte { return bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")) }

// Parse parses a definition file. The result is nil if there are errors. Its positions refer to
// UnixLines of src.
func Parse(src []byte, filename string) (*Definition, hcl.Diagnostics) {
	src = UnixLines(src)
	if bad := encoding(src, filename); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	if bad := bounds.HCL(src, filename, bounds.DefinitionBytes); bad != nil {
		return nil, hcl.Diagnostics{bad}
	}
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags[:1] // later errors are most likely consequences
	}
	if bad := bounds.Meter(file.Body.(*hclsyntax.Body)); bad.HasErrors() {
		return nil, bad
	}
	content, diags := file.Body.Content(fileSchema())
	if diags.HasErrors() {
		return nil, diags
	}
	if len(content.Blocks) != 1 {
		at := file.Body.MissingItemRange()
		if len(content.Blocks) > 1 {
			at = content.Blocks[1].DefRange
		}
		return nil, hcl.Diagnostics{diagnostic.Error(at, "Not one sidecar",
			`A definition file holds exactly one sidecar "name" { … } block.`)}
	}
	d := &Definition{file: file, functions: functions(), localNamed: map[string]*hclsyntax.Attribute{}}
	diags = d.decode(content.Blocks[0])
	if diags.HasErrors() {
		return nil, diags
	}
	diags = append(diags, d.checkReferences()...)
	diags = append(diags, d.checkDefaults()...)
	if diags.HasErrors() {
		return nil, diags
	}
	d.Digest = digest(src, content.Blocks[0])
	return d, diags
}

// encoding rejects invalid UTF-8. HCL accepts it in comments, labels and strings, and it
// would end up in jobs.
func encoding(src []byte, filename string) *hcl.Diagnostic {
	at := 0
	for at < len(src) {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	if at == len(src) {
		return nil
	}
	line := bytes.LastIndexByte(src[:at], '\n') + 1
	pos := hcl.Pos{Line: 1 + bytes.Count(src[:at], []byte("\n")), Column: 1 + utf8.RuneCount(src[line:at]), Byte: at}
	end := hcl.Pos{Line: pos.Line, Column: pos.Column + 1, Byte: at + 1}
	return diagnostic.Error(hcl.Range{Filename: filename, Start: pos, End: end}, "Invalid character encoding",
		fmt.Sprintf("Byte 0x%02x is not UTF-8. Save the file in that encoding.", src[at]))
}

func (d *Definition) decode(b *hcl.Block) hcl.Diagnostics {
	d.Name, d.Range = b.Labels[0], b.DefRange
	var diags hcl.Diagnostics
	if !sidecarName.MatchString(d.Name) || reservedNames[d.Name] {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid sidecar name",
			fmt.Sprintf("%q cannot name a sidecar: use lower-case letters, digits and dashes, starting with a letter, at most 63, and none of inject, exclude, name, version, digest, origin, added.", d.Name)))
	}
	content, more := b.Body.Content(sidecarSchema())
	diags = append(diags, more...)
	if attr := content.Attributes["version"]; attr != nil {
		diags = append(diags, d.decodeVersion(attr)...)
	}
	if attr := content.Attributes["summary"]; attr != nil {
		diags = append(diags, gohcl.DecodeExpression(attr.Expr, nil, &d.Summary)...)
	}
	diags = append(diags, decodeDeprecated(content.Attributes["deprecated"], &d.Deprecated)...)
	for _, blk := range content.Blocks {
		diags = append(diags, d.decodeBlock(blk)...)
	}
	if len(d.tasks) == 0 && !diags.HasErrors() {
		diags = append(diags, diagnostic.Error(b.DefRange, "Nothing to inject",
			fmt.Sprintf("Sidecar %q has no task block. Add the task that it brings: its meta also tells what else was changed, so that it can be taken out again.", d.Name)))
	}
	return append(diags, d.checkUnique()...)
}

func (d *Definition) decodeVersion(attr *hcl.Attribute) hcl.Diagnostics {
	var text string
	diags := gohcl.DecodeExpression(attr.Expr, nil, &text)
	if diags.HasErrors() {
		return diags
	}
	v, err := version.NewSemver(text)
	if err != nil {
		return hcl.Diagnostics{diagnostic.Error(attr.Expr.Range(), "Invalid version",
			fmt.Sprintf("%q is not a semantic version such as 1.0.0.", text))}
	}
	d.Version = v
	return nil
}

func (d *Definition) decodeBlock(b *hcl.Block) hcl.Diagnostics {
	native := nativeBlock(d.file, b)
	switch b.Type {
	case "parameter":
		p, diags := decodeParameter(b)
		if p != nil {
			d.Parameters = append(d.Parameters, p)
		}
		return diags
	case "locals":
		if len(native.Body.Blocks) > 0 {
			return hcl.Diagnostics{diagnostic.Error(native.Body.Blocks[0].DefRange(), "Invalid locals", "locals holds attributes only: name = value.")}
		}
		for _, a := range sortedAttributes(native.Body) {
			d.locals = append(d.locals, a)
			if d.localNamed[a.Name] == nil {
				d.localNamed[a.Name] = a
			}
		}
	case "api":
		return d.decodeAPI(b)
	case "requires":
		return d.decodeRequires(b)
	case "output":
		return d.decodeOutput(b)
	case "example":
		return d.decodeExample(b)
	case "task":
		d.tasks = append(d.tasks, native)
		return checkTask(native)
	case "service":
		d.services = append(d.services, native)
	case "volume":
		d.volumes = append(d.volumes, native)
	case "app":
		if d.app != nil {
			return hcl.Diagnostics{diagnostic.Error(b.DefRange, "Duplicate app block", "Only one app block is allowed.")}
		}
		d.app = native
		_, diags := b.Body.Content(appSchema())
		return append(diags, checkApp(native)...)
	}
	return nil
}

// nativeBlock returns the syntax node of a decoded block.
func nativeBlock(file *hcl.File, b *hcl.Block) *hclsyntax.Block {
	for _, sc := range file.Body.(*hclsyntax.Body).Blocks {
		for _, n := range sc.Body.Blocks {
			if n.TypeRange.Start.Byte == b.TypeRange.Start.Byte {
				return n
			}
		}
	}
	return nil
}
