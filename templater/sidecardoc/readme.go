package sidecardoc

import (
	"bytes"
	"fmt"
	"html/template"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Limits of a README: its size, and the quotes and list items that a line begins with. The time
// to parse a long paragraph or such a line is quadratic: a few seconds at most.
const (
	ReadmeBytes = 64 << 10
	maxNesting  = 50
)

// markers matches the quotes and list items that a line begins with.
var markers = regexp.MustCompile(`^(\s*(>|[-*+]\s|[0-9]{1,9}[.)]\s))*`)

// checkReadme returns an error if a README is too large to render.
func checkReadme(src []byte) error {
	if len(src) > ReadmeBytes {
		return fmt.Errorf("it has more than %d bytes; shorten it or rename the file", ReadmeBytes)
	}
	number := 0
	for line := range bytes.Lines(src) {
		number++
		if len(bytes.Fields(bytes.ReplaceAll(markers.Find(line), []byte(">"), []byte("> ")))) > maxNesting {
			return fmt.Errorf("line %d nests more than %d quotes or lists", number, maxNesting)
		}
	}
	return nil
}

// readme is a README as HTML: the part before the first heading of level 2, and the
// sections that such headings begin.
type readme struct {
	Pattern  string // "sidecar", "ambassador" or "adapter"
	Intro    template.HTML
	Sections []section
}

// section is a section of a README. Slug is unique in the README.
type section struct {
	Title, Slug string
	HTML        template.HTML
}

// newReadme renders the README of the sidecar name. It returns an empty one if the
// first heading is not the sidecar's name, as for the README of a folder with several
// definitions. The ids of headings are below id. linkTo returns the fragment for a
// sidecar of the site, or "".
func newReadme(src []byte, name, id string, linkTo func(name string) string) (*readme, error) {
	if err := checkReadme(src); err != nil {
		return nil, fmt.Errorf("README.md of sidecar %q: %w", name, err)
	}
	out := &readme{Pattern: "sidecar"}
	m := &markdown{src: bytes.ToValidUTF8(bytes.TrimPrefix(src, []byte("\uFEFF")), []byte("\uFFFD")), id: id, linkTo: linkTo, slugs: map[string]bool{}, used: map[string]int{}}
	m.md = goldmark.New(
		goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone))),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(codeBlocks{}, 100))),
	)
	doc := m.md.Parser().Parse(text.NewReader(m.src))
	title, ok := doc.FirstChild().(*ast.Heading)
	if !ok || title.Level != 1 || plainText(title, m.src) != name {
		return out, nil
	}
	m.prepare(doc)
	if first, ok := title.NextSibling().(*ast.Paragraph); ok {
		out.Pattern = patternOf(plainText(first, m.src))
	}
	next := title.NextSibling()
	var err error
	if out.Intro, next, err = m.until(next); err != nil {
		return nil, err
	}
	for next != nil {
		heading := next.(*ast.Heading)
		s := section{Title: plainText(heading, m.src), Slug: slugOf(heading)}
		if s.HTML, next, err = m.until(heading.NextSibling()); err != nil {
			return nil, err
		}
		out.Sections = append(out.Sections, s)
	}
	return out, nil
}

// patternOf returns the pattern that the first paragraph of a README begins with.
func patternOf(paragraph string) string {
	for _, p := range []string{"ambassador", "adapter"} {
		if strings.HasPrefix(paragraph, "An "+p+":") {
			return p
		}
	}
	return "sidecar"
}

type markdown struct {
	md     goldmark.Markdown
	src    []byte
	id     string
	linkTo func(name string) string
	slugs  map[string]bool
	// used has the last number that was appended to a slug.
	used map[string]int
}

// until renders the nodes before the next heading of level 1 or 2, and returns that.
func (m *markdown) until(n ast.Node) (template.HTML, ast.Node, error) {
	var out bytes.Buffer
	for ; n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok && h.Level <= 2 {
			break
		}
		if err := m.md.Renderer().Render(&out, m.src, n); err != nil {
			return "", nil, fmt.Errorf("render README.md: %w", err)
		}
	}
	return template.HTML(out.String()), n, nil // goldmark escapes text and omits HTML
}

// prepare gives headings their ids and cells their labels, and removes HTML, images, and links
// that lead to none of the site's views.
func (m *markdown) prepare(doc ast.Node) {
	var links, drop []ast.Node
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // never fails
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			n.SetAttributeString("id", []byte(m.id+"_readme_"+m.slug(plainText(n, m.src))))
		case *east.Table:
			m.label(n)
		case *ast.Link, *ast.Image, *ast.AutoLink:
			links = append(links, n)
		case *ast.HTMLBlock, *ast.RawHTML:
			drop = append(drop, n)
		}
		return ast.WalkContinue, nil
	})
	for _, n := range drop {
		m.asText(n)
	}
	for _, n := range links {
		m.resolve(n)
	}
}

// asText replaces HTML within a line by its source as text, and removes blocks of HTML.
func (m *markdown) asText(n ast.Node) {
	if raw, ok := n.(*ast.RawHTML); ok {
		n.Parent().InsertBefore(n.Parent(), n, ast.NewString(raw.Segments.Value(m.src)))
	}
	n.Parent().RemoveChild(n.Parent(), n)
}

// resolve keeps links to the web, to other sidecars of the site and within the README. It
// replaces all other links, and images, by their text.
func (m *markdown) resolve(n ast.Node) {
	var to string
	switch n := n.(type) {
	case *ast.AutoLink:
		if to = m.target(string(n.URL(m.src))); to == "" {
			n.Parent().ReplaceChild(n.Parent(), n, ast.NewString(n.Label(m.src)))
			return
		}
	case *ast.Link:
		to = m.target(string(n.Destination))
		n.Destination, n.Title = []byte(to), nil
	}
	if to == "" {
		for child := n.FirstChild(); child != nil; child = n.FirstChild() {
			n.Parent().InsertBefore(n.Parent(), n, child)
		}
		n.Parent().RemoveChild(n.Parent(), n)
		return
	}
	if to[0] != '#' {
		n.SetAttributeString("rel", []byte("noopener noreferrer"))
	}
}

// target returns the address of a link on the page, or "".
func (m *markdown) target(link string) string {
	u, err := url.Parse(link)
	switch {
	case err != nil:
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
		return u.String()
	case u.Scheme != "" || u.Host != "" || u.RawQuery != "":
	case u.Path == "" && m.slugs[u.Fragment]:
		return "#" + m.id + "_readme_" + u.Fragment
	case path.Base(u.Path) == "README.md" && path.Dir(path.Dir(u.Path)) == "..":
		return m.linkTo(path.Base(path.Dir(u.Path)))
	}
	return ""
}

// label gives each cell of a table the text of its column's heading, which narrow screens
// show beside the cell.
func (m *markdown) label(table *east.Table) {
	var labels []string
	for cell := table.FirstChild().FirstChild(); cell != nil; cell = cell.NextSibling() {
		labels = append(labels, plainText(cell, m.src))
	}
	for row := table.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
		i := 0
		for cell := row.FirstChild(); cell != nil && i < len(labels); cell = cell.NextSibling() {
			if i > 0 && labels[i] != "" {
				cell.SetAttributeString("data-label", []byte(labels[i]))
			}
			i++
		}
	}
}

// slug returns a fragment for a heading as GitHub does, and with a number if it is taken.
func (m *markdown) slug(title string) string {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return '-'
		case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
	slug := base
	for m.slugs[slug] {
		m.used[base]++
		slug = fmt.Sprintf("%s-%d", base, m.used[base])
	}
	m.slugs[slug] = true
	return slug
}

// slugOf returns the slug that prepare gave to a heading.
func slugOf(h *ast.Heading) string {
	id, _ := h.AttributeString("id")
	_, slug, _ := strings.Cut(string(id.([]byte)), "_readme_")
	return slug
}

// plainText returns the text of a node, without its markup.
func plainText(n ast.Node, src []byte) string {
	var out strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // never fails
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				out.Write(n.Value(src))
				if n.SoftLineBreak() || n.HardLineBreak() {
					out.WriteByte(' ')
				}
			}
		case *ast.String:
			if entering {
				out.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

// codeBlocks renders code blocks like the examples of definitions.
type codeBlocks struct{}

func (c codeBlocks) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindFencedCodeBlock, c.render)
	r.Register(ast.KindCodeBlock, c.render)
}

func (codeBlocks) render(w util.BufWriter, src []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkSkipChildren, nil
	}
	code, language := string(n.Lines().Value(src)), ""
	if fenced, ok := n.(*ast.FencedCodeBlock); ok {
		language = string(fenced.Language(src))
	}
	_, err := w.WriteString(string(codeBlock(code, language)))
	return ast.WalkSkipChildren, err
}

// codeBlock renders code. HCL is highlighted, and plain text gets no button to copy it.
func codeBlock(code, language string) template.HTML {
	body, class := template.HTML(template.HTMLEscapeString(code)), "code"
	switch language {
	case "hcl":
		body = highlight(code)
	case "", "text":
		class = "code plain"
	}
	return `<div class="` + template.HTML(class) + `"><pre tabindex="0" role="group" aria-label="Code"><code>` + body + "</code></pre></div>\n"
}
