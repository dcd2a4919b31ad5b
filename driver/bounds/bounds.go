// Package bounds limits data of unknown origin: the output of commands, text in
// events and errors, and state files.
//
// It parses no format and keeps no state.
package bounds

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// OutputBytes limits how much of each output of a command is kept. It equals
	// CheckBufSize of Nomad's own drivers.
	OutputBytes = 4 << 10
	// TextBytes limits text of other programs in an event, an error or a log line.
	TextBytes = 1 << 10
)

// ErrUnfit is wrapped by the errors of ReadFile about a file that is too large
// or not a regular file.
var ErrUnfit = errors.New("not a regular file within its limit")

// Ring is an io.Writer that keeps the last bytes written. The zero value
// keeps OutputBytes. It must not be copied.
type Ring struct {
	kept []byte
	next int // where the next byte goes once kept is full
}

// Write never fails.
func (r *Ring) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-OutputBytes):]
	free := min(len(p), OutputBytes-len(r.kept))
	r.kept = append(r.kept, p[:free]...)
	for p = p[free:]; len(p) > 0; {
		copied := copy(r.kept[r.next:], p)
		r.next = (r.next + copied) % OutputBytes
		p = p[copied:]
	}
	return n, nil
}

// Bytes returns a copy of the last bytes written.
func (r *Ring) Bytes() []byte {
	return append(append(make([]byte, 0, len(r.kept)), r.kept[r.next:]...), r.kept[:r.next]...)
}

// LastLine returns the last line that is not empty, or its end.
func (r *Ring) LastLine() string {
	s := strings.TrimSpace(string(r.Bytes()))
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Text makes a text safe to show on one line of a terminal: valid UTF-8 of at
// most TextBytes, with control and invisible characters escaped and line feeds
// turned into "; ". A longer text loses its middle, because the cause is usually
// at the end.
func Text(s string) string {
	const longestEscape = len(`\U0010ffff`)
	return shorten(escape(shorten(s, longestEscape*TextBytes)), TextBytes)
}

const cut = " […] "

// shorten replaces the middle of a text that is longer than limit by a mark.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	half := (limit - len(cut)) / 2
	// Only the character that a cut goes through is invalid in an escaped text.
	return strings.ToValidUTF8(s[:half], "") + cut + strings.ToValidUTF8(s[len(s)-half:], "")
}

func escape(s string) string {
	var b strings.Builder
	for lines := strings.Split(strings.TrimSpace(s), "\n"); len(lines) > 0; lines = lines[1:] {
		for line := lines[0]; line != ""; {
			r, n := utf8.DecodeRuneInString(line)
			switch {
			case r == utf8.RuneError && n == 1:
				fmt.Fprintf(&b, `\x%02x`, line[0])
			case strconv.IsPrint(r):
				b.WriteRune(r)
			default:
				b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
			}
			line = line[n:]
		}
		if len(lines) > 1 {
			b.WriteString("; ")
		}
	}
	return b.String()
}

// Error passes the message of err through Text. The result wraps err.
func Error(err error) error {
	if err == nil {
		return nil
	}
	if text := Text(err.Error()); text != err.Error() {
		return &shortError{text, err}
	}
	return err
}

type shortError struct {
	text  string
	cause error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.cause }

// ReadFile returns the content of a regular file of at most limit bytes. It
// follows no symbolic link in the last element of path, and blocks on no FIFO.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link, a socket
		return nil, fmt.Errorf("%s: %w", path, ErrUnfit)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: %w of %d bytes", path, ErrUnfit, limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: %w of %d bytes", path, ErrUnfit, limit)
	}
	return b, err
}
