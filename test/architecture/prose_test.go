package architecture_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// habits are phrases that slow a reader down, and plain words instead. CONTRIBUTING.md has examples.
var habits = []struct {
	phrase  *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\bwhere (there|it|one|that|they|this) (is|are|was|were|has|have)\b|\bwhere none\b`), "if …"},
	{regexp.MustCompile(`\b[Ww]hat (is|was|are|were|it|they|has|had|comes|came|makes|made)\b`), "name the thing"},
	{regexp.MustCompile(`\b(is|are|was|were|be) told\b|\btells? (of|that|so|how|which|what|where|whether|who)\b|\bsays? so\b`), "reports, returns, logs"},
	{regexp.MustCompile(`\b(nobody|somebody|whoever)\b|\bwho (may|is|has|asks|waits)\b`), "name the caller, the user, the process"},
	{regexp.MustCompile(`\blook(s|ed|ing)? at\b|\bsees? to it\b`), "checks, reads, probes, scans"},
	{regexp.MustCompile(`\b(that|those|the one|the ones) of\b`), "repeat the noun"},
	{regexp.MustCompile(`\b(goes|go|went) on\b|\bin its place\b|\bno more\b|\bas it is\b|\blikewise\b|\bcan not\b|\banew\b`), "continues, replaces, no longer, unchanged, again"},
}

// comment matches the text of a comment that is for readers.
var comment = regexp.MustCompile(`(?:^|\s)//(.*)`)

// TestProse keeps comments plain: at most one in a hundred lines may have one of the habits.
func TestProse(t *testing.T) {
	const mostPercent = 1
	var lines int
	var found []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "bin" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		must.NoError(t, err)
		n := 0
		for line := range strings.Lines(string(source)) {
			n++
			text := comment.FindStringSubmatch(strings.TrimRight(line, "\n"))
			if text == nil || strings.TrimSpace(text[1]) == "" || strings.HasPrefix(text[1], "go:") {
				continue
			}
			lines++
			for _, h := range habits {
				if phrase := h.phrase.FindString(text[1]); phrase != "" {
					found = append(found, fmt.Sprintf("%s:%d: %q: rather %s", strings.TrimPrefix(path, "../../"), n, phrase, h.instead))
				}
			}
		}
		return nil
	})
	must.NoError(t, err)
	must.Greater(t, 1000, lines)
	if 100*len(found) > mostPercent*lines {
		t.Errorf("%d phrases in %d comment lines, of which %d %% are allowed:\n%s", len(found), lines, mostPercent, strings.Join(found, "\n"))
	}
	t.Logf("%d phrases in %d comment lines", len(found), lines)
}
