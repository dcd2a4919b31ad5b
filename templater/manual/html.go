package manual

import (
	"bytes"
	_ "embed" // for page.html
	"fmt"
	"html/template"
)

//go:embed page.html
var pageHTML string

// HTML writes pages as one HTML page that needs no other file and asks no host for
// anything. It follows the reader's choice of dark or light.
func HTML(pages []*Page) ([]byte, error) {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parse page.html: %w", err)
	}
	title := "Sidecars"
	if len(pages) == 1 {
		title = pages[0].Name + " " + pages[0].Version
	}
	var out bytes.Buffer
	if err := t.Execute(&out, struct {
		Title string
		Pages []*Page
	}{title, pages}); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return out.Bytes(), nil
}

// Anchor is the fragment of a page's address in a document of several.
func (p *Page) Anchor() string { return p.anchor() }
