package sidecardoc

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"fmt"
	"html/template"
)

//go:embed page.html
var pageHTML string

//go:embed parts.html
var partsHTML string

//go:embed page.css
var pageCSS string

// HTML renders a page as one self-contained HTML page. Its content security policy
// forbids scripts and external content. It follows the reader's colour scheme.
func HTML(p *Page) ([]byte, error) {
	t, err := newTemplate("page", pageHTML)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, struct {
		*Page
		StyleHash string
		Style     template.CSS
	}{p, hash(pageCSS), template.CSS(pageCSS)}); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return out.Bytes(), nil
}

// newTemplate parses a page and the parts that pages share.
func newTemplate(name, text string) (*template.Template, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"code":       codeBlock,
		"shown":      (*Page).shown,
		"ports":      func(p *Page) []string { return p.names("port") },
		"gets":       func(p *Page) []string { return p.names("env") },
		"parameters": func(prefix string, p *Page) parameterList { return parameterList{prefix, p.Parameters} },
	}).Parse(text)
	if err == nil {
		t, err = t.Parse(partsHTML)
	}
	if err != nil {
		return nil, fmt.Errorf("parse %s.html: %w", name, err)
	}
	return t, nil
}

// parameterList has the prefix for the ids of its rows.
type parameterList struct {
	Prefix string
	Rows   []Parameter
}

// hash returns the hash of a style or script for a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Anchor returns the fragment of the page within a document of several pages.
func (p *Page) Anchor() string { return p.anchor() }

// names returns the names of one kind in the API surface.
func (p *Page) names(kind string) []string {
	var out []string
	for _, item := range p.API {
		if item.Kind == kind {
			out = append(out, item.Name)
		}
	}
	return out
}
