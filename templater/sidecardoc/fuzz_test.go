package sidecardoc

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/net/html"
)

// FuzzReadme: the HTML of a README has only the elements and attributes that Markdown makes,
// whatever the README says, and its links lead to the page itself or to the web.
func FuzzReadme(f *testing.F) {
	f.Add("# x\n\nAn adapter: [a](b) ![c](d) <e> `f`\n\n## Limits\n\n| a | b |\n|---|---|\n| c | d |\n")
	f.Add(hostileReadme)
	elements := strings.Fields("a b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul")
	attributes := strings.Fields("aria-label class data-label href id rel role start tabindex")
	f.Fuzz(func(t *testing.T, src string) {
		text, err := newReadme([]byte(src), "x", "x", func(string) string { return "#y" })
		if err != nil {
			return
		}
		out := string(text.Intro)
		for _, s := range text.Sections {
			out += string(s.HTML)
		}
		for tokens := html.NewTokenizer(strings.NewReader(out)); tokens.Next() != html.ErrorToken; {
			token := tokens.Token()
			if token.Type == html.TextToken {
				continue
			}
			must.SliceContains(t, elements, token.Data, must.Sprint(out))
			for _, a := range token.Attr {
				must.SliceContains(t, attributes, a.Key, must.Sprint(out))
				safe := slices.ContainsFunc([]string{"#", "https://", "http://"}, func(p string) bool { return strings.HasPrefix(a.Val, p) })
				must.True(t, a.Key != "href" || safe, must.Sprint(out))
			}
		}
	})
}
