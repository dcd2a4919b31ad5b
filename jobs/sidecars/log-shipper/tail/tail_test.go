package tail_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/tail"
)

const maxLine = 16

var stdout = tail.Stream{Task: "app", Name: "stdout"}

// reader is a Tail over a directory of a test, and what it said.
type reader struct {
	*tail.Tail
	t     must.T
	dir   string
	lines []tail.Line
	lost  []string
	from  map[tail.Stream]tail.Place // where this one began
}

func open(t must.T, dir string, from map[tail.Stream]tail.Place) *reader {
	r := &reader{t: t, dir: dir, from: from}
	var err error
	r.Tail, err = tail.Open(dir, tail.Options{From: from, MaxLineBytes: maxLine, Lost: func(s tail.Stream, what string) {
		r.lost = append(r.lost, s.String()+": "+what)
	}})
	must.NoError(t, err)
	return r
}

// reopen begins where the last line of each stream ended, as after a crash.
func (r *reader) reopen() *reader {
	must.NoError(r.t, r.Close())
	from := map[tail.Stream]tail.Place{}
	maps.Copy(from, r.from)
	for _, line := range r.lines {
		from[line.Stream] = line.End
	}
	return open(r.t, r.dir, from)
}

func (r *reader) keep(line tail.Line) bool {
	line.Text = append([]byte(nil), line.Text...)
	r.lines = append(r.lines, line)
	return true
}

// read gives the new lines as text; a piece that goes on ends in "…".
func (r *reader) read() []string {
	r.t.Helper()
	before := len(r.lines)
	must.NoError(r.t, r.Read(r.keep))
	return texts(r.lines[before:])
}

func texts(lines []tail.Line) []string {
	var out []string
	for _, line := range lines {
		text := string(line.Text)
		if line.Partial {
			text += "…"
		}
		out = append(out, text)
	}
	return out
}

func write(t must.T, dir, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must.NoError(t, err)
	_, err = f.WriteString(text)
	must.NoError(t, err)
	must.NoError(t, f.Close())
}

func remove(t must.T, dir, name string) {
	t.Helper()
	must.NoError(t, os.Remove(filepath.Join(dir, name)))
}

func TestLinesWaitForTheirEnd(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	must.SliceEmpty(t, r.read())
	write(t, dir, "app.stdout.0", "one\ntw")
	must.Eq(t, []string{"one"}, r.read())
	must.SliceEmpty(t, r.read())
	write(t, dir, "app.stdout.0", "o\n\nlast")
	must.Eq(t, []string{"two", ""}, r.read())

	r.Rest(r.keep)
	must.Eq(t, "last…", texts(r.lines)[3])
	write(t, dir, "app.stdout.0", "ing\n")
	must.Eq(t, []string{"ing"}, r.read())
	must.SliceEmpty(t, r.lost)
}

func TestLineGoesOnInTheNextFile(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	write(t, dir, "app.stdout.0", "one\nfi")
	must.Eq(t, []string{"one"}, r.read())
	write(t, dir, "app.stdout.1", "ve")
	must.SliceEmpty(t, r.read())
	write(t, dir, "app.stdout.2", "rs\nsix\n")
	must.Eq(t, []string{"fivers", "six"}, r.read())
	must.SliceEmpty(t, r.lost)
}

func TestFileRemovedWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	write(t, dir, "app.stdout.0", "1\n2\n3\n")
	must.NoError(t, r.Read(func(l tail.Line) bool { r.keep(l); return false }))
	write(t, dir, "app.stdout.0", "4\nfi")
	write(t, dir, "app.stdout.1", "ve\n")
	remove(t, dir, "app.stdout.0")
	must.Eq(t, []string{"2", "3", "4", "five"}, r.read())
	must.SliceEmpty(t, r.lost)
}

func TestGapIsToldAndEndsTheLine(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	write(t, dir, "app.stdout.2", "a\nbegun")
	must.Eq(t, []string{"a"}, r.read())
	write(t, dir, "app.stdout.5", "other\n")
	must.Eq(t, []string{"begun", "other"}, r.read())
	must.Eq(t, []string{
		"app.stdout: files 0 to 1 were removed before they were read",
		"app.stdout: files 3 to 4 were removed before they were read",
	}, r.lost)
}

func TestTruncatedFileIsReadFromItsBeginning(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	write(t, dir, "app.stdout.0", "one\ntwo\nthr")
	must.Eq(t, []string{"one", "two"}, r.read())
	must.NoError(t, os.Truncate(filepath.Join(dir, "app.stdout.0"), 0))
	write(t, dir, "app.stdout.0", "new\n")
	must.Eq(t, []string{"thr", "new"}, r.read())
	must.SliceLen(t, 1, r.lost)
	must.StrContains(t, r.lost[0], "shrank from 11 to 4 bytes")

	must.NoError(t, os.Truncate(filepath.Join(dir, "app.stdout.0"), 0))
	r = r.reopen()
	defer r.Close()
	write(t, dir, "app.stdout.0", "n\n")
	must.Eq(t, []string{"n"}, r.read())
}

func TestReplacedFileIsNotTheSame(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	write(t, dir, "app.stdout.0", "one\n")
	must.Eq(t, []string{"one"}, r.read())
	// The old one stays, so that its inode is not given to the new one.
	must.NoError(t, os.Rename(filepath.Join(dir, "app.stdout.0"), filepath.Join(dir, "old")))
	write(t, dir, "app.stdout.0", "a long new line\n")
	must.Eq(t, []string{"a long new line"}, r.read())
	must.NoError(t, os.Rename(filepath.Join(dir, "app.stdout.0"), filepath.Join(dir, "old2")))
	write(t, dir, "app.stdout.0", "and a third one\n")
	r = r.reopen()
	must.Eq(t, []string{"and a third one"}, r.read())
	must.SliceLen(t, 1, r.lost)

	write(t, dir, "app.stdout.7", "seven\n")
	must.Eq(t, []string{"seven"}, r.read())
	remove(t, dir, "app.stdout.7")
	remove(t, dir, "app.stdout.0")
	write(t, dir, "app.stdout.1", "anew\n")
	must.Eq(t, []string{"anew"}, r.read())
	must.NoError(t, r.Close())
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	write(t, dir, "app.stdout.0", "1\n2\nhal")
	write(t, dir, "app.stderr.0", "e1\n")
	must.Eq(t, []string{"1", "2", "e1"}, sorted(r.read()))
	r = r.reopen()
	write(t, dir, "app.stdout.1", "f\n4\n")
	must.Eq(t, []string{"half", "4"}, r.read())
	must.SliceEmpty(t, r.lost)

	// Nomad removed what was not read meanwhile.
	write(t, dir, "app.stdout.2", "lost\n")
	write(t, dir, "app.stdout.4", "6\n")
	remove(t, dir, "app.stdout.0")
	remove(t, dir, "app.stdout.1")
	remove(t, dir, "app.stdout.2")
	r = r.reopen()
	defer r.Close()
	must.Eq(t, []string{"6"}, r.read())
	must.Eq(t, []string{"app.stdout: files 1 to 3 were removed before they were read, unless it had been read to its end"}, r.lost)
}

func sorted(lines []string) []string {
	if len(lines) > 0 && strings.HasPrefix(lines[0], "e") {
		return append(lines[1:], lines[0])
	}
	return lines
}

func TestLongLinesComeInPieces(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	write(t, dir, "app.stdout.0", strings.Repeat("a", maxLine)+"\n")
	write(t, dir, "app.stdout.0", strings.Repeat("b", 2*maxLine)+"c")
	must.Eq(t, []string{strings.Repeat("a", maxLine), strings.Repeat("b", maxLine) + "…", strings.Repeat("b", maxLine) + "…"}, r.read())
	r = r.reopen()
	defer r.Close()
	write(t, dir, "app.stdout.1", "d\n")
	must.Eq(t, []string{"cd"}, r.read())
}

func TestOddNames(t *testing.T) {
	dir := t.TempDir()
	tasks := []string{"a", "a.stdout", "a.stdout.0", "with space", "%2F", ".", "ünï", "[x]*", "-flag", "new\nline"}
	for _, task := range tasks {
		write(t, dir, task+".stderr.0", "x\n")
	}
	for _, other := range []string{"a.stdout.x", "a.stdout", "a.stdout.01", "a.stdout.-1", "stdout.0", ".stdout.0", "a.stdin.0"} {
		write(t, dir, other, "other\n")
	}
	must.NoError(t, os.Mkdir(filepath.Join(dir, "dir.stdout.0"), 0o755))
	must.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe.stdout.0"), 0o600))
	must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link.stdout.0")))

	r := open(t, dir, nil)
	defer r.Close()
	r.read()
	must.SliceLen(t, len(tasks), r.lines)
	for _, line := range r.lines {
		must.SliceContains(t, tasks, line.Task)
		must.Eq(t, "stderr", line.Name)
	}
}

func TestWantedOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.stdout.0", "o\n")
	write(t, dir, "app.stderr.0", "e\n")
	tl, err := tail.Open(dir, tail.Options{MaxLineBytes: maxLine, Wanted: func(s tail.Stream) bool { return s == stdout }})
	must.NoError(t, err)
	defer tl.Close()
	must.NoError(t, tl.Read(func(l tail.Line) bool {
		must.Eq(t, stdout, l.Stream)
		return true
	}))
}

// A stream with much to say does not keep another one waiting.
func TestStreamsTakeTurns(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.stdout.0", strings.Repeat("x\n", 1000))
	write(t, dir, "b.stdout.0", strings.Repeat("y\n", 1000))
	r := open(t, dir, nil)
	defer r.Close()
	seen := map[string]int{}
	for range 4 {
		n := 0
		must.NoError(t, r.Read(func(l tail.Line) bool {
			seen[l.Task]++
			n++
			return n < 100
		}))
	}
	must.Eq(t, map[string]int{"a": 200, "b": 200}, seen)
}

// Whatever is written, rotated, removed after it was read, and whenever the
// reader begins again: every line comes once and in order.
func TestEveryLineOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must.NoError(rt, err)
		r := open(rt, dir, nil)
		defer func() { must.NoError(rt, r.Close()) }()
		var wrote, got strings.Builder
		collect := func(lines []tail.Line) {
			for _, l := range lines {
				got.Write(l.Text)
				if !l.Partial {
					got.WriteByte('\n')
				}
			}
		}
		number := 0
		write(rt, dir, "app.stdout.0", "")
		for i := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0, 1:
				text := rapid.StringMatching(`[a-z\n]{0,40}`).Draw(rt, "text") + fmt.Sprint(i)
				wrote.WriteString(text)
				write(rt, dir, fmt.Sprintf("app.stdout.%d", number), text)
			case 2:
				number++
				write(rt, dir, fmt.Sprintf("app.stdout.%d", number), "")
			case 3:
				before, limit := len(r.lines), rapid.IntRange(1, 3).Draw(rt, "limit")
				must.NoError(rt, r.Read(func(l tail.Line) bool {
					r.keep(l)
					return len(r.lines)-before < limit
				}))
				collect(r.lines[before:])
			case 4:
				r = r.reopen()
			}
		}
		before := len(r.lines)
		must.NoError(rt, r.Read(r.keep))
		r.Rest(r.keep)
		collect(r.lines[before:])
		must.Eq(rt, wrote.String(), got.String())
		must.SliceEmpty(rt, r.lost)
	})
}
