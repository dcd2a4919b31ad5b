package hcljob

import (
	"bytes"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

var (
	// dottedKey is a key that is legal in a map only, such as sidecar.inject = "topz", on a line of
	// its own or after the begin of a block.
	dottedKey = regexp.MustCompile(`^\s*(?:meta\s*\{\s*)?("?)(sidecar\.[A-Za-z0-9_.-]+)"?\s*=`)
	// notJSON begins a line of JSON after a comment, or of a list.
	notJSON = regexp.MustCompile(`^\s*(\{\s*($|")|\[\s*($|\{))`)
	// templateLine begins with a directive, which no job file does.
	templateLine = regexp.MustCompile(`(?m)^\s*(\[\[|\{\{|\{%)`)
	// terraform is a line of Terraform's templatefile, with a directive or an expression outside
	// of a string.
	terraform = regexp.MustCompile(`^\s*%\{|^[^"#]*=\s*\$\{`)
	// directive is an expression of Levant, nomad-pack, Helm or Jinja.
	directive = regexp.MustCompile(`\[\[.*\]\]|\{\{.*\}\}|\{%.*%\}`)
	// packHeader is the line that nomad-pack render writes before each file.
	packHeader = regexp.MustCompile(`(?m)^\S+/\S+:[ \t]*\r?$`)
)

// hinted adds the most likely cause to a syntax error.
func hinted(diags hcl.Diagnostics, src []byte) hcl.Diagnostics {
	d := diags[0]
	if d.Subject == nil {
		return diags
	}
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		d.Detail = "The file is UTF-16, as PowerShell writes by default. Write it as UTF-8, for example with Out-File -Encoding utf8."
		return diags
	}
	start, _ := lineStart(src, min(d.Subject.Start.Byte, len(src)))
	line := src[start:lineEnd(src, start)]
	switch key := dottedKey.FindSubmatch(line); {
	case notJSON.Match(line):
		d.Summary = "Not a job"
		d.Detail = "This line looks like JSON. A job in JSON is one object, without comments before it."
	case terraform.Match(line):
		d.Summary = "Template instead of a job"
		d.Detail = "This line looks like a part of a template of Terraform. Give the result of its templatefile() instead, or write a variable of the job in place of it: var.name."
	case d.Summary == "Invalid character" && d.Subject.Start.Byte < len(src):
		if r, _ := utf8.DecodeRune(src[d.Subject.Start.Byte:]); r < '!' || r > '~' {
			d.Detail += fmt.Sprintf(" It is %U.", r)
		}
	case key != nil:
		d.Summary = "Key with a dot in a block"
		d.Detail = fmt.Sprintf("A block cannot have this key. Write the map as an attribute: meta = { %q = … }.", key[2])
	case packHeader.Match(line):
		d.Summary = "Name of a file in the job"
		d.Detail = "This line looks like one that nomad-pack render writes before each file. Write the files with nomad-pack render --to-dir, and give one of them; or remove the line."
	case directive.Match(line):
		d.Summary = "Template instead of a job"
		d.Detail = "This line looks like a part of a template, such as those of Levant and nomad-pack. Render it first, for example with levant render or nomad-pack render."
	default:
		if at := templateLine.FindIndex(src); at != nil {
			d.Detail += fmt.Sprintf(" Line %d looks like a part of a template, such as those of Levant and nomad-pack: if it is one, render it first.", 1+bytes.Count(src[:at[1]], []byte("\n")))
		}
	}
	return diags
}
