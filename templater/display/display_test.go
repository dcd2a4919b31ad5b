package display

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/shoenig/test/must"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"web":                                "web",
		"grün 日本 👩‍🚀":                        "grün 日本 👩‍🚀",
		"a\x1b[2Jb":                          `a\u001b[2Jb`,
		"a\r\nb\tc\a":                        `a\u000d\u000ab\u0009c\u0007`,
		"\u009b31m\u007f":                    `\u009b31m\u007f`,
		"\x9b31m":                            "\ufffd31m",
		"\u202eevil\u2069\u2028\u200f\u061c": `\u202eevil\u2069\u2028\u200f\u061c`,
	} {
		must.Eq(t, want, Line(text))
	}
	must.Eq(t, "a\n\tb\\u000dc", Text("a\n\tb\rc"))
}

func TestSource_KeepsPositions(t *testing.T) {
	src := "a = \"\x1b[2J\u009b\u202e\x9bé\"\r\nb = \"\rc\"\n"
	out := Source([]byte(src))
	must.Eq(t, "a = \"?[2J\u00bf\ufffd?é\"\r\nb = \"?c\"\n", string(out))
	must.Eq(t, len(src), len(out))
}

func TestWriter_Colours(t *testing.T) {
	hostile := "\x1b[1m\x1b[31mred\x1b[0m\x1b[2J\x1b[8mhidden\x1b]0;title\a\x1b[K\r\x1b[38;5;1m\x1b["
	for colours, want := range map[bool]string{
		true:  "\x1b[1m\x1b[31mred\x1b[0m" + `\u001b[2J\u001b[8mhidden\u001b]0;title\u0007\u001b[K\u000d\u001b[38;5;1m\u001b[`,
		false: `\u001b[1m\u001b[31mred\u001b[0m\u001b[2J\u001b[8mhidden\u001b]0;title\u0007\u001b[K\u000d\u001b[38;5;1m\u001b[`,
	} {
		var out bytes.Buffer
		_, err := (&Writer{To: &out, Colours: colours}).Write([]byte(hostile))
		must.NoError(t, err)
		must.Eq(t, want, out.String())
	}
}

// The output does not depend on how a text is split into writes, contains no terminal control
// characters, and keeps the meaning of JSON.
func FuzzWriter(f *testing.F) {
	f.Add("a\x1b[31mü\u202e\x9b\xe2\x80", 3)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		if cut < 0 || cut > len(text) {
			cut = len(text)
		}
		var parts bytes.Buffer
		w := &Writer{To: &parts}
		for _, part := range []string{text[:cut], text[cut:]} {
			n, err := w.Write([]byte(part))
			must.NoError(t, err)
			must.Eq(t, len(part), n)
		}
		must.StrHasPrefix(t, parts.String(), Text(text))
		must.True(t, utf8.Valid(parts.Bytes()))
		must.False(t, strings.ContainsFunc(parts.String(), func(r rune) bool {
			return r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
		}))
		must.Eq(t, len(text), len(Source([]byte(text))))
		if utf8.ValidString(text) {
			raw, err := json.Marshal(text)
			must.NoError(t, err)
			var back string
			must.NoError(t, json.Unmarshal([]byte(Text(string(raw))), &back))
			must.Eq(t, text, back)
		}
	})
}
