package sidecardoc

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for page.html and page.css
	"encoding/base64"
	"fmt"
	"html/template"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// HTML renders pages as one self-contained HTML page. Its content security policy
// forbids scripts and external content. It follows the reader's colour scheme.
func HTML(pages []*Page) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"highlight": highlight,
		"ports":     func(p *Page) []string { return p.names("port") },
		"gets":      func(p *Page) []string { return p.names("env") },
	}).Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parse page.html: %w", err)
	}
	title := "Sidecars"
	if len(pages) == 1 {
		title = pages[0].Name + " " + pages[0].Version
	}
	sum := sha256.Sum256([]byte(pageCSS))
	var out bytes.Buffer
	if err := t.Execute(&out, struct {
		Title, StyleHash string
		Style            template.CSS
		Pages            []*Page
	}{title, base64.StdEncoding.EncodeToString(sum[:]), template.CSS(pageCSS), pages}); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return out.Bytes(), nil
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
