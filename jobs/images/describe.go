package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// description is the metadata of an image and the files beside its program.
type description struct {
	name         string
	version      string // semantic version, the tag of the image
	summary      string
	certificates bool
	readme       string // path in the repository
}

// certificates matches the line by which a main.go requests the certificates of
// the public authorities. Programs that make HTTPS requests need them.
var certificates = regexp.MustCompile(`(?m)^//image:certificates\b`)

// describe reads the definition and the main.go of a sidecar's folder.
func describe(dir, name string) (description, error) {
	d := description{name: name, readme: "jobs/sidecars/" + name + "/README.md"}
	path := filepath.Join(dir, name+".sidecar.hcl")
	text, err := os.ReadFile(path)
	if err != nil {
		return d, fmt.Errorf("definition of %s: %w", name, err)
	}
	file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
	if diags.HasErrors() {
		return d, diags
	}
	blocks := file.Body.(*hclsyntax.Body).Blocks
	if len(blocks) != 1 || blocks[0].Type != "sidecar" {
		return d, fmt.Errorf("%s: want one sidecar block", path)
	}
	for key, value := range map[string]*string{"version": &d.version, "summary": &d.summary} {
		attribute := blocks[0].Body.Attributes[key]
		if attribute == nil {
			return d, fmt.Errorf("%s: the sidecar has no %s", path, key)
		}
		if diags := gohcl.DecodeExpression(attribute.Expr, nil, value); diags.HasErrors() {
			return d, diags
		}
	}
	source, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if err != nil {
		return d, fmt.Errorf("program of %s: %w", name, err)
	}
	d.certificates = certificates.Match(source)
	return d, nil
}

// templater describes nomad-sidecar of a release, which reaches Nomad and catalogs by HTTPS.
func templater(version string) description {
	return description{
		name: "nomad-sidecar", version: version, certificates: true, readme: "templater/README.md",
		summary: "Injects reusable sidecars into Nomad jobs, by command or as a proxy in front of Nomad's API.",
	}
}

// tag returns the version as a tag of an image, which cannot contain a +.
func (d description) tag() string { return strings.ReplaceAll(d.version, "+", "-") }
