package sidecardoc

import (
	"html"
	"regexp"
	"testing"

	"github.com/shoenig/test/must"
)

func TestHighlight(t *testing.T) {
	must.Eq(t, `<span class="k">group</span> <span class="s">&#34;</span><span class="s">web</span><span class="s">&#34;</span> {
  <span class="a">count</span> = <span class="n">2</span> <span class="c"># two
</span>  <span class="a">on</span>    = <span class="n">true</span>
}
`, string(highlight("group \"web\" {\n  count = 2 # two\n  on    = true\n}\n")))
}

// Whatever the text is, it is shown, and as text.
func TestHighlightChangesNothing(t *testing.T) {
	for _, src := range []string{"", "a", "x = <<EOT\n<b>\nEOT\n", hostile, "job \"<i>\" {", "\"unfinished", "é = \xff", "${a}"} {
		out := string(highlight(src))
		plain := regexp.MustCompile(`</?span[^>]*>`).ReplaceAllString(out, "")
		must.StrNotContains(t, plain, "<")
		must.Eq(t, src, html.UnescapeString(plain))
	}
}
