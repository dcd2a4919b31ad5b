package sidecar

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
)

func attrs(names ...string) []hcl.AttributeSchema {
	out := make([]hcl.AttributeSchema, 0, len(names))
	for _, n := range names {
		name, required := strings.CutSuffix(n, "!")
		out = append(out, hcl.AttributeSchema{Name: name, Required: required})
	}
	return out
}

func fileSchema() *hcl.BodySchema {
	return &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "sidecar", LabelNames: []string{"name"}}}}
}

func sidecarSchema() *hcl.BodySchema {
	return &hcl.BodySchema{
		Attributes: attrs("version!", "summary", "deprecated"),
		Blocks: []hcl.BlockHeaderSchema{
			{Type: "parameter", LabelNames: []string{"name"}},
			{Type: "locals"},
			{Type: "api"}, {Type: "requires"},
			{Type: "task", LabelNames: []string{"name"}},
			{Type: "service"},
			{Type: "volume", LabelNames: []string{"name"}},
			{Type: "app"},
			{Type: "output", LabelNames: []string{"name"}},
			{Type: "example", LabelNames: []string{"name"}},
		},
	}
}

func parameterSchema() *hcl.BodySchema {
	return &hcl.BodySchema{
		Attributes: attrs("type", "default", "example", "description", "nullable", "sensitive", "deprecated"),
		Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
	}
}

func apiSchema() *hcl.BodySchema {
	return &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "port", LabelNames: []string{"label"}},
		{Type: "directory", LabelNames: []string{"path"}},
		{Type: "env", LabelNames: []string{"name"}},
		{Type: "signal", LabelNames: []string{"name"}},
	}}
}

func appSchema() *hcl.BodySchema {
	return &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "env"}, {Type: "config"}, {Type: "volume_mount"}, {Type: "template"},
		{Type: "dynamic", LabelNames: []string{"type"}},
	}, Attributes: attrs("enabled")}
}

var (
	portLabel = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (d *Definition) decodeAPI(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(apiSchema())
	for _, blk := range content.Blocks {
		diags = append(diags, d.decodeAPIBlock(blk)...)
	}
	return diags
}

func (d *Definition) decodeAPIBlock(b *hcl.Block) hcl.Diagnostics {
	names := map[string][]string{
		"port": {"to", "enabled", "description"}, "directory": {"access", "description"},
		"env": {"value!", "append", "separator", "enabled", "description"}, "signal": {"description"},
	}[b.Type]
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attrs(names...)})
	var description string
	if a := content.Attributes["description"]; a != nil {
		diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, &description)...)
	}
	label := b.Labels[0]
	invalid := func(what string) {
		diags = append(diags, diagnostic.Error(b.LabelRanges[0], "Invalid "+b.Type, fmt.Sprintf("%q %s", label, what)))
	}
	switch b.Type {
	case "port":
		if !portLabel.MatchString(label) {
			invalid("cannot label a port: use letters, digits, dashes and underscores.")
		}
		p := &Port{Label: label, Description: description, Range: b.DefRange}
		if a := content.Attributes["to"]; a != nil {
			p.to = a.Expr
		}
		p.enabled = content.Attributes["enabled"]
		d.API.Ports = append(d.API.Ports, p)
	case "directory":
		dir := &Directory{Path: label, Access: "read", Description: description, Range: b.DefRange}
		if a := content.Attributes["access"]; a != nil {
			diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, &dir.Access)...)
			if !slices.Contains([]string{"read", "write", "readwrite"}, dir.Access) {
				diags = append(diags, diagnostic.Error(a.Expr.Range(), "Invalid access", `access is "read", "write" or "readwrite".`))
			}
		}
		d.API.Directories = append(d.API.Directories, dir)
	case "env":
		if !envName.MatchString(label) {
			invalid("cannot name an environment variable: use letters, digits and underscores.")
		}
		e := &Env{Name: label, Description: description, Range: b.DefRange}
		if a := content.Attributes["value"]; a != nil {
			e.value = a.Expr
		}
		e.enabled = content.Attributes["enabled"]
		diags = append(diags, e.decodeAppend(content.Attributes)...)
		d.API.Env = append(d.API.Env, e)
	case "signal":
		if !strings.HasPrefix(label, "SIG") {
			invalid("is not a signal: write its full name, such as SIGHUP.")
		}
		d.API.Signals = append(d.API.Signals, &Signal{Name: label, Description: description, Range: b.DefRange})
	}
	return diags
}

// decodeAppend reads how the value is added to a variable of a task. The default separator is a
// space, as in JAVA_TOOL_OPTIONS and NODE_OPTIONS.
func (e *Env) decodeAppend(attrs hcl.Attributes) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if a := attrs["append"]; a != nil {
		diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, &e.Append)...)
	}
	e.Separator = " "
	a := attrs["separator"]
	if a == nil {
		return diags
	}
	diags = append(diags, gohcl.DecodeExpression(a.Expr, nil, &e.Separator)...)
	switch {
	case !e.Append:
		diags = append(diags, diagnostic.Error(a.Range, "Separator without append", "separator applies to append = true only. Add that, or remove this line."))
	case e.Separator == "":
		diags = append(diags, diagnostic.Error(a.Range, "Invalid separator", "separator must not be empty: the value could not be told from the rest of the variable."))
	}
	return diags
}

func (d *Definition) decodeRequires(b *hcl.Block) hcl.Diagnostics {
	content, diags := b.Body.Content(&hcl.BodySchema{Attributes: attrs("network", "share", "restart_with", "nomad", "after", "conflicts")})
	d.Requires.Range = b.DefRange
	lists := []struct {
		name    string
		into    *[]string
		allowed []string
	}{
		{"network", &d.Requires.Network, []string{"bridge", "cni", "host", "none"}},
		{"share", &d.Requires.Share, []string{"ipc", "uts", "pid"}},
		{"after", &d.Requires.After, nil},
		{"conflicts", &d.Requires.Conflicts, nil},
	}
	for _, l := range lists {
		attr := content.Attributes[l.name]
		if attr == nil {
			continue
		}
		diags = append(diags, gohcl.DecodeExpression(attr.Expr, nil, l.into)...)
		for _, v := range *l.into {
			if l.allowed != nil && !slices.Contains(l.allowed, v) {
				diags = append(diags, diagnostic.Error(attr.Expr.Range(), "Invalid "+l.name,
					fmt.Sprintf("%q is not one of %s.", v, strings.Join(l.allowed, ", "))))
			}
		}
	}
	if attr := content.Attributes["restart_with"]; attr != nil {
		diags = append(diags, gohcl.DecodeExpression(attr.Expr, nil, &d.Requires.RestartWith)...)
	}
	if attr := content.Attributes["nomad"]; attr != nil {
		var text string
		more := gohcl.DecodeExpression(attr.Expr, nil, &text)
		diags = append(diags, more...)
		c, err := version.NewConstraint(text)
		if err != nil && !more.HasErrors() {
			diags = append(diags, diagnostic.Error(attr.Expr.Range(), "Invalid version constraint",
				fmt.Sprintf("%q is not a version constraint such as \">= 1.7\".", text)))
		}
		d.Requires.Nomad = c
	}
	return diags
}

// checkTask rejects attributes of an injected task that the templater sets.
func checkTask(t *hclsyntax.Block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	name := t.Labels[0]
	// Nomad's rule for task names: structs.Task.Validate.
	if name == "" || name == "alloc" || strings.ContainsAny(name, "/\\\x00") {
		diags = append(diags, diagnostic.Error(t.LabelRanges[0], "Invalid task name",
			fmt.Sprintf("%q cannot name a task: it must not be empty, \"alloc\", or hold a slash or backslash.", name)))
	}
	return diags
}

// checkApp rejects dynamic blocks for env and config: their names must be known in advance.
func checkApp(app *hclsyntax.Block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, b := range app.Body.Blocks {
		if b.Type == "dynamic" && b.Labels[0] != "template" && b.Labels[0] != "volume_mount" {
			diags = append(diags, diagnostic.Error(b.DefRange(), "Invalid dynamic block", fmt.Sprintf(
				"In app a dynamic block makes template or volume_mount, not %q. In env and config set what should be left out to null.", b.Labels[0])))
		}
	}
	return diags
}

// checkUnique rejects duplicate names.
func (d *Definition) checkUnique() hcl.Diagnostics {
	var diags hcl.Diagnostics
	seen := map[string]hcl.Range{}
	once := func(kind, name string, at hcl.Range) {
		key := kind + " " + name
		if first, dup := seen[key]; dup {
			diags = append(diags, diagnostic.Error(at, "Duplicate "+kind,
				fmt.Sprintf("%s %q was already defined at %s. Remove or rename one of them.", kind, name, first)))
			return
		}
		seen[key] = at
	}
	for _, p := range d.Parameters {
		once("parameter", p.Name, p.Range)
	}
	for _, o := range d.Outputs {
		once("output", o.Name, o.Range)
	}
	for _, e := range d.Examples {
		once("example", e.Name, e.Range)
	}
	for _, p := range d.API.Ports {
		once("port", p.Label, p.Range)
	}
	for _, e := range d.API.Env {
		once("env", e.Name, e.Range)
	}
	for _, t := range d.tasks {
		once("task", t.Labels[0], t.DefRange())
	}
	for _, v := range d.volumes {
		once("volume", v.Labels[0], v.DefRange())
	}
	return diags
}
