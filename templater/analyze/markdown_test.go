package analyze

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "write the codes in docs/analyze.md")

// The documentation of the codes is generated from their table.
func TestMarkdown_IsTheGuides(t *testing.T) {
	const path, begin, end = "../../docs/analyze.md", "<!-- codes -->\n\n", "\n<!-- end of codes -->"
	raw, err := os.ReadFile(path)
	must.NoError(t, err)
	before, rest, found := strings.Cut(string(raw), begin)
	must.True(t, found)
	_, after, found := strings.Cut(rest, end)
	must.True(t, found)
	want := before + begin + Markdown() + end + after
	if *update {
		must.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	must.Eq(t, want, string(raw), must.Sprint("run go test ./templater/analyze -run Markdown -update"))
}
