package architecture

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

// habit is a phrase that slows a reader down, and plainer words. CONTRIBUTING.md has examples.
type habit struct {
	phrase  *regexp.Regexp
	instead string
}

// never are habits without an exception, rare are phrases that are sometimes the right ones.
var (
	never = []habit{
		{regexp.MustCompile(`(?i)\bwhere there (is|are|was|were)\b|\bwhere none\b|\bwhat is left of\b`), "if …, or the noun"},
		{regexp.MustCompile(`(?i)\b(is|are|was|were|be) told\b|\btells? (of|that|so|how|which|what|where|whether|who)\b`), "reports, returns, logs"},
		{regexp.MustCompile(`(?i)\b(nobody|somebody|whoever)\b|\bsees? to it\b`), "the caller, the user, the process"},
		{regexp.MustCompile(`(?i)\blook(s|ed|ing)? at\b`), "checks, reads, probes, scans"},
		{regexp.MustCompile(`(?i)\b(goes|go|went) on\b|\bin its place\b|\blikewise\b|\bcan not\b|\banew\b|\bis there no more\b`), "continues, replaces, also, cannot, again"},
	}
	rare = []habit{
		{regexp.MustCompile(`(?i)\bwhere (it|one|that|they|this) (is|are|was|were|has|have)\b`), "if …"},
		{regexp.MustCompile(`(?i)\bwhat (is|was|are|were|it|they|a|an|the|has|had|comes|came|makes|made)\b`), "name the thing"},
		{regexp.MustCompile(`(?i)\bwho (may|is|has|asks|waits)\b|\bwhose\b|\bsays? so\b`), "name the caller, or begin with the noun"},
		{regexp.MustCompile(`(?i)\blook(s|ed|ing)? for\b|\btried for\b`), "checks, reads, probes, scans"},
		{regexp.MustCompile(`(?i)\b(that|those|the one|the ones) of\b`), "repeat the noun"},
		{regexp.MustCompile(`(?i)\bno more\b|\bas it is\b|\bby itself\b|\bat once\b`), "no longer, unchanged, immediately"},
	}
)

// comment matches the text of a comment that is for readers.
var comment = regexp.MustCompile(`(?:^|\s)//(.*)`)

// TestProse keeps comments plain: no line has a habit of the first list, and at most two in a
// thousand one of the second.
func TestProse(t *testing.T) {
	const maxPerThousand = 2
	var lines int
	var wrong, found []string
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
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
			at := fmt.Sprintf("%s:%d", strings.TrimPrefix(path, repository+"/"), n)
			wrong = append(wrong, phrases(at, text[1], never)...)
			found = append(found, phrases(at, text[1], rare)...)
		}
		return nil
	})
	must.NoError(t, err)
	must.Greater(t, 1000, lines)
	for _, w := range wrong {
		t.Error(w)
	}
	if 1000*len(found) > maxPerThousand*lines {
		t.Errorf("%d phrases in %d comment lines, of which %d in a thousand are allowed:\n%s", len(found), lines, maxPerThousand, strings.Join(found, "\n"))
	}
	t.Logf("%d phrases in %d comment lines", len(found), lines)
}

func phrases(at, text string, habits []habit) (found []string) {
	for _, h := range habits {
		if phrase := h.phrase.FindString(text); phrase != "" {
			found = append(found, fmt.Sprintf("%s: %q: rather %s", at, phrase, h.instead))
		}
	}
	return found
}

func TestPhrases(t *testing.T) {
	for text, quaint := range map[string]bool{
		"nobody sees to it that a task's output is read": true, "it is told of its end": true, "a file where there is none": true,
		"Stop sends sig and waits up to timeout for the task to exit.": false, "a process that drains the pipe": false,
	} {
		must.Eq(t, quaint, len(phrases("x.go:1", text, never)) > 0, must.Sprint(text))
	}
}
