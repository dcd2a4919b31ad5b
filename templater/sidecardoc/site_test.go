package sidecardoc

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// hostileReadme tries what Markdown may contain to run or load something, or to look like a part
// of the page.
const hostileReadme = `# x

An adapter: <script>document.title = "ran"</script> <img src="http://127.0.0.1:1/x" onerror="document.title='ran'"> <i>text</i>

<script>document.title = "ran"</script>

<style>body { display: none }</style>

<iframe src="javascript:document.title='ran'"></iframe>

![picture](http://127.0.0.1:1/x "title") ![picture](data:image/svg+xml,<svg/onload=alert(1)>)

[one](javascript:document.title='ran') [two](JaVaScRiPt:alert(1)) [three](data:text/html,<script>alert(1)</script>)
[four](vbscript:x) [five](//example.com/) [six](file:///etc/passwd) [seven](&#106;avascript:alert(1)) [eight](#_top)
[nine](https://example.com/"onclick="alert(1)) [ten](../y/README.md) <javascript:alert(1)> <a@example.com> [eleven](../../secret)

## Parameters

| a | b" onclick="alert(1) |
|---|:--:|
| <b onclick="alert(1)">x</b> | ` + "`<script>`" + ` |

## "><script>document.title = "ran"</script>

` + "```hcl\" onclick=\"alert(1)\n</code></pre><script>document.title = 'ran'</script>\n```\n" + `
### _title

    <script>indented</script>

## _title
## Examples
# x
`

func hostileEntries(t *testing.T) []*Entry {
	t.Helper()
	newer := hostilePage(t)
	newer.Version = "2.0.0"
	long := strings.Repeat("W", 5000)
	return []*Entry{
		{Page: newer, Readme: []byte("# x\n\n" + long + " `" + long + "`\n\n## " + long + "\n\n| a | b |\n|---|---|\n| " + long + " | " + long + " |\n")},
		{Page: hostilePage(t), Readme: []byte(hostileReadme), Releases: []Release{
			{Version: "1.2.3", Changes: []string{hostile, long}, More: 3}, {Version: "1.2.2", First: true},
		}},
	}
}

func TestSite_Deterministic(t *testing.T) {
	first, err := Site(catalog(t))
	must.NoError(t, err)
	second, err := Site(catalog(t))
	must.NoError(t, err)
	must.Eq(t, string(first), string(second))
}

// Every output is on the site and on the page of its definition, like every parameter.
func TestSite_Declared(t *testing.T) {
	all, err := Site(catalog(t))
	must.NoError(t, err)
	outputs := 0
	for _, e := range catalog(t) {
		page, err := HTML(e.Page)
		must.NoError(t, err)
		for _, html := range []string{string(all), string(page)} {
			for _, o := range e.Outputs {
				outputs++
				must.StrContains(t, html, "<code>"+o.Name+"</code>")
			}
			for _, p := range e.Parameters {
				must.StrContains(t, html, "<code>"+p.Name+"</code>")
			}
		}
	}
	must.Positive(t, outputs)
}

// The table of patterns in the catalog's README is that of the site.
func TestSite_Patterns(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(jobs, "README.md"))
	must.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "\n### By pattern\n")
	articles, err := newArticles(catalog(t))
	must.NoError(t, err)
	for _, a := range articles {
		row := regexp.MustCompile(`(?m)^\| ` + a.Pattern + ` \|.*`).FindString(table)
		must.StrContains(t, row, "`"+a.Name+"`", must.Sprint("the first paragraph of the README names another pattern"))
	}
}

func TestNewReadme(t *testing.T) {
	link := func(name string) string { return map[string]string{"y": "#y"}[name] }
	text, err := newReadme([]byte("\ufeff# x\n\nAn ambassador: see [y](../y/README.md), [z](../z/README.md), [here](#part-two) and <https://example.com>.\n\n"+
		"## Part Two\n\n| when | then |\n|---|---|\n| a < b | *c* |\n\n### Part two\n\n## Limits\n\n- one <i>two</i>\n"), "x", "x-1", link)
	must.NoError(t, err)
	must.Eq(t, "ambassador", text.Pattern)
	must.Eq(t, `<p>An ambassador: see <a href="#y">y</a>, z, <a href="#x-1_readme_part-two">here</a> and <a href="https://example.com" rel="noopener noreferrer">https://example.com</a>.</p>`+"\n", string(text.Intro))
	must.SliceLen(t, 2, text.Sections)
	must.Eq(t, "Part Two", text.Sections[0].Title)
	must.Eq(t, "part-two", text.Sections[0].Slug)
	must.StrContains(t, string(text.Sections[0].HTML), `<td>a &lt; b</td>`)
	must.StrContains(t, string(text.Sections[0].HTML), `<td data-label="then"><em>c</em></td>`)
	must.StrContains(t, string(text.Sections[0].HTML), `<h3 id="x-1_readme_part-two-1">`)
	must.StrContains(t, string(text.Sections[1].HTML), "<li>one &lt;i&gt;two&lt;/i&gt;</li>")

	for _, src := range []string{"", "text", "# other\n\n## Limits\n", "## x\n"} {
		text, err := newReadme([]byte(src), "x", "x", link)
		must.NoError(t, err)
		must.Eq(t, &readme{Pattern: "sidecar"}, text, must.Sprint(src))
	}
	_, err = newReadme(make([]byte, ReadmeBytes+1), "x", "x", link)
	must.EqError(t, err, "README.md of sidecar \"x\": it has more than 65536 bytes; shorten it or rename the file")
	_, err = newReadme([]byte("# x\n\n"+strings.Repeat("> 1. ", 25)+"- x\n"), "x", "x", link)
	must.EqError(t, err, "README.md of sidecar \"x\": line 3 nests more than 50 quotes or lists")
}

// A README of the largest size takes a moment, whatever it nests.
func TestNewReadme_Bounded(t *testing.T) {
	for _, unit := range []string{">", "- ", "[", "*a", "<", "# x\n\n", "[a](", "[a]: b\n\n", "|a|b|\n|-|-|\n", "1. ", "<!--", "a@b.c ", "**a_", "   - a\n"} {
		src := "# x\n\n" + strings.Repeat(unit, (ReadmeBytes-8)/len(unit))
		begin := time.Now()
		_, _ = newReadme([]byte(src), "x", "x", func(string) string { return "" }) // some nest too deeply
		must.Less(t, testtimeout.Scale(15*time.Second), time.Since(begin), must.Sprintf("%q", unit))
	}
}

func TestNewEntry_Releases(t *testing.T) {
	c := &sidecar.Catalog{}
	files := fstest.MapFS{}
	for i := range maxReleases + 2 {
		files[fmt.Sprintf("%d.sidecar.hcl", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "sidecar \"x\" {\n  version = \"1.%d.0\"\n  parameter \"p\" {\n    type    = number\n    default = %d\n  }\n  task \"x\" {\n    driver = \"pod\"\n  }\n}\n", i, i/2)}
	}
	must.False(t, c.Load(files, "c").HasErrors())
	e := NewEntry(c.Find("x"), c.Versions("x"), nil)
	must.SliceLen(t, maxReleases, e.Releases)
	must.Eq(t, Release{Version: "1.51.0", Changes: []string{}}, e.Releases[0])
	must.Eq(t, Release{Version: "1.50.0", Changes: []string{`parameter "p".default: 24 → 25`}}, e.Releases[1])

	e = NewEntry(c.Find("x"), c.Versions("x")[50:], nil)
	must.Eq(t, []Release{{Version: "1.1.0", Changes: []string{}}, {Version: "1.0.0", First: true}}, e.Releases)
	site, err := Site([]*Entry{e})
	must.NoError(t, err)
	must.StrContains(t, string(site), "<dt>1.0.0</dt>")
}
