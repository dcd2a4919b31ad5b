package bounds

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
	"pgregory.net/rapid"
)

// The skeleton of a text never nests less than the text: what is found in it to be
// within bounds is.
func TestASkeletonNestsAsDeep(t *testing.T) {
	deepest := func(src string) (most int) {
		tokens, _ := hclsyntax.LexConfig([]byte(src), "", hcl.InitialPos)
		n := &nesting{open: []frame{{lines: true}}}
		for i := range tokens {
			n.token(tokens, i)
			most = max(most, n.levels)
		}
		return most
	}
	parts := []string{
		"a", "b1", " ", "\n", "\t", "{", "}", "[", "]", "(", ")", `"`, "${", "$", "$$", "%", `\`, `\"`, "#", "//", "/*", "*/",
		",", ".", "-", "+", "*", "!", "?", ":", "=", "==", "<", ">", "&&", "||", "1.5", "é", "…", "x-y", "for", "if", "in", "'", "`", "@", "\r\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 60).Draw(t, "parts"), "")
		if !plain([]byte(src)) {
			return
		}
		must.GreaterEq(t, deepest(src), deepest(string(withoutWords([]byte(src)))), must.Sprintf("%q", src))
	})
}
