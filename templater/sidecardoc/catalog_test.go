package sidecardoc

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

var update = flag.Bool("update", false, "write the tables of the catalog's READMEs anew")

// The folder of the catalog and the examples.
const jobs = "../../jobs"

// catalog returns the entries of the included catalog.
func catalog(t *testing.T) []*Entry {
	t.Helper()
	c := &sidecar.Catalog{}
	diags := c.Load(os.DirFS(filepath.Join(jobs, "sidecars")), "sidecars")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	var entries []*Entry
	for _, name := range c.Names() {
		d := c.Find(name)
		text, err := c.Beside(d, "README.md", ReadmeBytes)
		must.NoError(t, err)
		entries = append(entries, NewEntry(d, c.Versions(name), text))
	}
	must.SliceNotEmpty(t, entries)
	return entries
}

func builtin(t *testing.T) []*Page {
	t.Helper()
	var pages []*Page
	for _, e := range catalog(t) {
		pages = append(pages, e.Page)
	}
	return pages
}

// The READMEs of the catalog hold tables that are made from the definitions:
//
//	go test ./templater/sidecardoc -update
func TestTheCatalogsTablesAreThoseOfTheDefinitions(t *testing.T) {
	pages := builtin(t)
	readme := func(p *Page) string { return "sidecars/" + p.Name + "/README.md" }
	checkTable(t, "README.md", "## The catalog", CatalogTable(pages, readme))
	for _, p := range pages {
		checkTable(t, readme(p), "## Parameters", p.ParameterTable())
	}
}

// checkTable compares the first table below a heading, or puts it there.
func checkTable(t *testing.T, path, heading, want string) {
	t.Helper()
	path = filepath.Join(jobs, filepath.FromSlash(path))
	src, err := os.ReadFile(path)
	must.NoError(t, err)
	text := string(src)
	begin := strings.Index(text, "\n"+heading+"\n")
	must.Positive(t, begin, must.Sprintf("%s has no heading %q", path, heading))
	begin += len(heading) + 2
	section := text[begin:]
	if end := strings.Index(section, "\n## "); end >= 0 {
		section = section[:end+1]
	}
	from, to := firstTable(section)
	if section[from:to] == want || (from == to && strings.Contains(section, want)) {
		return
	}
	if !*update {
		t.Errorf("%s: the table below %q is not that of the definitions; run go test ./templater/sidecardoc -update. It should be\n%s", path, heading, want)
		return
	}
	if from == to {
		want = "\n" + want
	}
	out := text[:begin+from] + want + text[begin+to:]
	must.NoError(t, os.WriteFile(path, []byte(out), 0o644))
}

// firstTable finds the lines of the first table; an empty place where there is none.
func firstTable(section string) (from, to int) {
	at := 0
	for line := range strings.Lines(section) {
		isRow := strings.HasPrefix(line, "|")
		switch {
		case isRow && to == 0:
			from, to = at, at+len(line)
		case isRow && to == at:
			to += len(line)
		case to > 0:
			return from, to
		}
		at += len(line)
	}
	return from, to
}
