// Package display escapes text for terminals and logs.
//
// Control characters can move the cursor, rewrite lines or change the terminal's state; characters
// that set the direction of text can reorder it.
package display

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text escapes control characters, except for line breaks and tabs, as \u001b.
func Text(s string) string { return escape(s, "\n\t") }

// Line also escapes line breaks and tabs, so that a name stays in its line and column.
func Line(s string) string { return escape(s, "") }

func escape(s, allowed string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return hidden(r, allowed) }) && utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for _, r := range s { // invalid bytes are U+FFFD
		if hidden(r, allowed) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func hidden(r rune, allowed string) bool {
	if r >= ' ' && r < 0x7f {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) && !strings.ContainsRune(allowed, r)
}

// Source replaces control characters with visible ones of the same length, so that positions in the
// source stay valid.
func Source(src []byte) []byte {
	text := string(src)
	if Text(text) == text {
		return src
	}
	out := make([]byte, 0, len(src))
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && size == 1, r != '\r' && size == 1 && hidden(r, "\n\t"):
			out = append(out, '?')
		case r == '\r' && !(i+1 < len(src) && src[i+1] == '\n'):
			out = append(out, '?')
		case size == 2 && hidden(r, ""):
			out = append(out, "\u00bf"...) // ¿
		case size == 3 && hidden(r, ""):
			out = append(out, "\ufffd"...)
		default:
			out = append(out, src[i:i+size]...)
		}
		i += size
	}
	return out
}

// Writer escapes all text written to it, as Text does.
type Writer struct {
	To io.Writer
	// Colours passes the colour sequences of our own diagnostics and diffs. All other escape
	// sequences are still escaped.
	Colours bool

	rest []byte // the beginning of an incomplete character
}

// Write returns len(b) if all of b was escaped and written.
func (w *Writer) Write(b []byte) (int, error) {
	text := append(w.rest, b...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if c := text[len(text)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(text[len(text)-i:]) {
				whole -= i
			}
			break
		}
	}
	out := w.escape(string(text[:whole]))
	w.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(w.To, out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *Writer) escape(text string) string {
	if !w.Colours {
		return Text(text)
	}
	var out strings.Builder
	for {
		at := strings.IndexByte(text, '\x1b')
		if at < 0 {
			out.WriteString(Text(text))
			return out.String()
		}
		out.WriteString(Text(text[:at]))
		n := colour(text[at:])
		if n == 0 {
			n = 1
			out.WriteString(Text(text[at : at+1]))
		} else {
			out.WriteString(text[at : at+n])
		}
		text = text[at+n:]
	}
}

// colour returns the length of a sequence that sets a colour, bold, underline or plain:
// ESC [ digits m with digits of 0, 1, 4, 30 to 37 or 90 to 97. It returns 0 for others.
func colour(text string) int {
	end := strings.IndexByte(text, 'm')
	if end < 3 || end > 4 || text[1] != '[' {
		return 0
	}
	switch digits := text[2:end]; {
	case digits == "0", digits == "1", digits == "4":
	case len(digits) == 2 && (digits[0] == '3' || digits[0] == '9') && digits[1] >= '0' && digits[1] <= '7':
	default:
		return 0
	}
	return end + 1
}

// Fprintf is fmt.Fprintf with Line applied to every text argument; the format itself is not escaped.
func Fprintf(w io.Writer, format string, args ...any) {
	for i, arg := range args {
		switch arg.(type) {
		case string, error, fmt.Stringer:
			args[i] = line{arg}
		}
	}
	_, _ = fmt.Fprintf(w, format, args...) // write errors of the program's own output are ignored
}

type line struct{ arg any }

func (l line) Format(f fmt.State, verb rune) {
	text := fmt.Sprintf(fmt.FormatString(f, verb), l.arg)
	_, _ = io.WriteString(f, Line(text)) // a buffer of fmt never fails
}
