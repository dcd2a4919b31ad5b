package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

var testPatience = testtimeout.Scale(30 * time.Second)

// outlet is a FIFO, the stream that reads it, and the log files.
type outlet struct {
	t      *testing.T
	dir    string
	w      *os.File
	stream *stream
	events chan string
}

func newOutlet(t *testing.T, dir string, maxFiles int, maxBytes int64) *outlet {
	t.Helper()
	return newOutletWith(t, dir, maxFiles, maxBytes, func(*stream) {})
}

func newOutletWith(t *testing.T, dir string, maxFiles int, maxBytes int64, change func(*stream)) *outlet {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	must.NoError(t, unix.Mkfifo(path, 0o600))
	r, err := openFIFO(path)
	must.NoError(t, err)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	must.NoError(t, err)
	d, err := os.Open(dir)
	must.NoError(t, err)
	o := &outlet{t: t, dir: dir, w: w, events: make(chan string, 100)}
	o.stream = &stream{
		fifo: r, done: make(chan struct{}), tell: func(s string) { o.events <- s }, count: &counters{},
		files: files{dir: d, base: "web.stdout", maxFiles: maxFiles, maxBytes: maxBytes},
	}
	change(o.stream)
	go o.stream.run()
	t.Cleanup(func() { _ = w.Close(); <-o.stream.done })
	return o
}

func (o *outlet) write(text string) {
	o.t.Helper()
	_, err := o.w.WriteString(text)
	must.NoError(o.t, err)
}

// end closes the FIFO, waits until the stream has ended, and returns the numbers and contents of
// the log files.
func (o *outlet) end() (numbers []int, contents []string) {
	o.t.Helper()
	must.NoError(o.t, o.w.Close())
	select {
	case <-o.stream.done:
	case <-time.After(testPatience):
		o.t.Fatal("the stream did not end")
	}
	return read(o.t, o.dir, "web.stdout")
}

func read(t *testing.T, dir, base string) (numbers []int, contents []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, base+".*"))
	must.NoError(t, err)
	for _, p := range paths {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(p), "."))
		must.NoError(t, err)
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s.%d", base, n)))
		must.NoError(t, err)
		contents = append(contents, string(b))
	}
	return numbers, contents
}

func lines(from, to int) string {
	var b bytes.Buffer
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func TestStream_KeepsBytes(t *testing.T) {
	o := newOutlet(t, t.TempDir(), 10, 10<<20)
	o.write("no end of line, \x00 and \xff")
	numbers, contents := o.end()
	must.Eq(t, []int{0}, numbers)
	must.Eq(t, []string{"no end of line, \x00 and \xff"}, contents)
}

func TestStream_RotatesAtLineEnd(t *testing.T) {
	const maxBytes = 100_000
	o := newOutlet(t, t.TempDir(), 3, maxBytes)
	all := lines(1, 50_000) // 538 KB
	o.write(all)
	numbers, contents := o.end()
	must.Len(t, 3, numbers, must.Sprint(numbers))
	must.Greater(t, 3, numbers[2])
	must.StrHasSuffix(t, strings.Join(contents, ""), all)
	for _, text := range contents {
		must.LessEq(t, maxBytes, len(text))
		must.StrHasPrefix(t, "line ", text)
		must.StrHasSuffix(t, "\n", text)
	}
	for _, text := range contents[:2] {
		must.Greater(t, maxBytes-lineLimit, len(text), must.Sprint("size of a rotated file"))
	}
}

// Files smaller than a pipe, and lines longer than a file, need no special treatment.
func TestStream_SplitsLongLines(t *testing.T) {
	o := newOutlet(t, t.TempDir(), 100, 5000)
	long := strings.Repeat("x", 12_000)
	o.write("short\n" + long + "\nafter\n")
	_, contents := o.end()
	must.Eq(t, "short\n"+long+"\nafter\n", strings.Join(contents, ""))
	for _, text := range contents {
		must.LessEq(t, 5000, len(text))
	}
}

// A line that arrives in pieces is not split at the end of a file.
func TestStream_LineInPieces(t *testing.T) {
	o := newOutlet(t, t.TempDir(), 100, 1000)
	for i := range 200 {
		o.write(fmt.Sprintf("first %d, ", i))
		o.write("second\n")
	}
	_, contents := o.end()
	must.Greater(t, 3, len(contents))
	for _, text := range contents {
		must.LessEq(t, 1000, len(text))
		must.StrHasPrefix(t, "first", text)
	}
	must.Eq(t, 200, strings.Count(strings.Join(contents, ""), "second\n"))
}

func TestStream_ContinuesNewestFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"web.stdout.3": "old\n", "web.stdout.4": "before\n", "web.stdout.x": "", "web.stderr.9": ""} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	o := newOutlet(t, dir, 10, 10<<20)
	o.write("after\n")
	must.NoError(t, o.w.Close())
	<-o.stream.done
	b, err := os.ReadFile(filepath.Join(dir, "web.stdout.4"))
	must.NoError(t, err)
	must.Eq(t, "before\nafter\n", string(b))
}

// CVE-2026-6959: a process that can write to the directory must not redirect the collector, which
// is root, to another file, or make it wait for the reader of a FIFO.
// Trap D4.
func TestStream_FollowsNoSymlink(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	must.NoError(t, os.WriteFile(victim, []byte("untouched"), 0o600))
	for name, put := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(victim, path) },
		"pipe": func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "web.stdout.0")
			must.NoError(t, put(path))
			o := newOutlet(t, dir, 10, 10<<20)
			o.write("attack\n")
			select {
			case text := <-o.events:
				must.StrContains(t, text, "web.stdout")
			case <-time.After(testPatience):
				_, _ = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0) // unblock an open that waits for a reader
				t.Fatal("the attack was not reported")
			}
			must.NoError(t, os.Remove(path))
			_, contents := o.end()
			must.Eq(t, []string{"attack\n"}, contents)
		})
	}
	b, err := os.ReadFile(victim)
	must.NoError(t, err)
	must.Eq(t, "untouched", string(b))
}

// Slow output is read together with the output of other tasks after a delay. Fast output is read
// immediately.
func TestStream_Delay(t *testing.T) {
	var s stream
	now := time.Unix(1, 0)
	must.Eq(t, pollPeriod, s.delay(1, now))
	must.Eq(t, pollPeriod-3*time.Millisecond, s.delay(smallRead-1, now.Add(3*time.Millisecond)))
	must.Eq(t, time.Nanosecond, s.delay(100, now.Add(pollPeriod-1)))
	must.Eq(t, 0, s.delay(smallRead, now))
	must.Eq(t, 0, s.delay(pipeBytes, now))
	must.Eq(t, 0, s.delay(0, now), must.Sprint("after a rotation"))
	s.failing = now
	must.Eq(t, retryDelay, s.delay(0, now))
}

func TestWholeLines(t *testing.T) {
	for _, tc := range []struct {
		text            string
		space, max, out int64
	}{
		{"a\nb\n", 10, 100, 4},
		{"a\nbcd", 10, 100, 2},
		{"a\nbcd\n", 4, 100, 2},
		{"abcdef\n", 4, 100, 0}, // fits into the next file
		{"abc", 10, 100, 0},     // the rest of the line may not fit
		{"abc", 50, 100, 3},     // the rest of the line will fit
		{"abcdef\n", 4, 4, 4},   // fits into no file
		{strings.Repeat("x", lineLimit), lineLimit, 1 << 20, lineLimit},
	} {
		must.Eq(t, tc.out, wholeLines([]byte(tc.text), tc.space, tc.max), must.Sprintf("%.20q %d %d", tc.text, tc.space, tc.max))
	}
}
