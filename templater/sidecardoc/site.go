package sidecardoc

import (
	"bytes"
	_ "embed" // for the site
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

//go:embed site.html
var siteHTML string

//go:embed site.css
var siteCSS string

//go:embed site.js
var siteJS string

// Limits of the history of a definition.
const (
	maxReleases = 50
	maxChanges  = 50
)

// Entry is a definition in a site.
type Entry struct {
	*Page
	// Releases are the versions in the catalog, newest first, at most 50.
	Releases []Release
	// Readme is the definition's README in Markdown. Site ignores it if its title is
	// not the name of the sidecar.
	Readme []byte
}

// Release is a version. Changes are its differences from the next older version, at most
// 50; More is the number of those left out. First is set for the oldest version.
type Release struct {
	Version string
	Changes []string
	More    int
	First   bool
}

// NewEntry documents a definition with the history of its versions, newest first.
func NewEntry(d *sidecar.Definition, versions []*sidecar.Definition, readme []byte) *Entry {
	e := &Entry{Page: New(d), Readme: readme}
	for i, v := range versions[:min(len(versions), maxReleases)] {
		r := Release{Version: v.Version.String(), First: i == len(versions)-1}
		if !r.First {
			changes := slices.DeleteFunc(v.Changes(versions[i+1]), func(line string) bool {
				return strings.HasPrefix(line, "version: ")
			})
			shown := min(len(changes), maxChanges)
			r.Changes, r.More = changes[:shown], len(changes)-shown
		}
		e.Releases = append(e.Releases, r)
	}
	return e
}

// pattern is one of the single-node patterns and its sidecars.
type pattern struct {
	Name     string
	Articles []*article
}

// article is an entry as its view in the site shows it.
type article struct {
	*Entry
	ID, Pattern string
	Intro       template.HTML
	Parts       []part
}

// part is a part of an article: a generated table, text of the README, or both.
type part struct {
	ID, Title, Kind string
	HTML            template.HTML
}

// Site renders a catalog as one self-contained HTML page that shows one view at a time: an
// index, a view for each pattern, and one for each entry. Its content security policy
// forbids external content. Search and buttons to copy need scripts; all else works
// without.
func Site(entries []*Entry) ([]byte, error) {
	t, err := newTemplate("site", siteHTML)
	if err != nil {
		return nil, err
	}
	articles, err := newArticles(entries)
	if err != nil {
		return nil, err
	}
	var patterns []pattern
	for _, name := range []string{"sidecar", "ambassador", "adapter"} {
		p := pattern{Name: name, Articles: slices.Clone(articles)}
		p.Articles = slices.DeleteFunc(p.Articles, func(a *article) bool { return a.Pattern != name })
		if len(p.Articles) > 0 {
			patterns = append(patterns, p)
		}
	}
	style := pageCSS + siteCSS
	var out bytes.Buffer
	if err := t.Execute(&out, struct {
		StyleHash, ScriptHash string
		Style                 template.CSS
		Script                template.JS
		Patterns              []pattern
		Articles              []*article
	}{hash(style), hash(siteJS), template.CSS(style), template.JS(siteJS), patterns, articles}); err != nil {
		return nil, fmt.Errorf("write the site: %w", err)
	}
	return out.Bytes(), nil
}

// newArticles renders READMEs. The id of an article is the sidecar's name, and includes the
// version if the site has several versions of the sidecar. It has no underscore: all other ids
// begin with one, or with the id of an article and one.
func newArticles(entries []*Entry) ([]*article, error) {
	count, ids := map[string]int{}, map[string]string{}
	for _, e := range entries {
		count[e.Name]++
	}
	id := func(e *Entry) string {
		if count[e.Name] > 1 {
			return e.Anchor()
		}
		return e.Name
	}
	for _, e := range slices.Backward(entries) {
		ids[e.Name] = "#" + id(e)
	}
	var out []*article
	for _, e := range entries {
		a := &article{Entry: e, ID: id(e)}
		text, err := newReadme(e.Readme, e.Name, a.ID, func(name string) string { return ids[name] })
		if err != nil {
			return nil, err
		}
		a.Pattern, a.Intro, a.Parts = text.Pattern, text.Intro, parts(a, text)
		out = append(out, a)
	}
	return out, nil
}

// parts merges the generated parts with the sections of a README: a section with the title
// of a generated part continues it, except for the parameters, which READMEs repeat.
func parts(a *article, text *readme) []part {
	out := []part{{Title: "Examples", Kind: "example"}, {Title: "Parameters", Kind: "parameters"}}
	add := func(present bool, title, kind string) {
		if present {
			out = append(out, part{Title: title, Kind: kind})
		}
	}
	add(len(a.API) > 0, "API surface", "api")
	add(len(a.Outputs) > 0, "Outputs", "outputs")
	last := len(out)
	add(len(a.Requires) > 0, "Requires", "requires")
	add(len(a.Tasks) > 0, "Tasks and resources", "tasks")
	add(len(a.Brings) > 0, "Also brings", "brings")
	add(len(a.Releases) > 1, "Versions", "versions")
	for i := range out {
		out[i].ID = a.ID + "_part_" + out[i].Kind
	}
	for _, s := range text.Sections {
		generated := slices.IndexFunc(out, func(p part) bool { return p.Title == s.Title })
		switch {
		case s.Title == "Parameters":
		case generated >= 0:
			out[generated].HTML += s.HTML
		default:
			out = slices.Insert(out, last, part{ID: a.ID + "_readme_" + s.Slug, Title: s.Title, HTML: s.HTML})
			last++
		}
	}
	return out
}
