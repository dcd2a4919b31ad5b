package bounds

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

func TestText(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"plain":             {"status 404 Not Found", "status 404 Not Found"},
		"terminal escape":   {"\x1b[2Jhi\x07", `\x1b[2Jhi\a`},
		"lines":             {"first\nsecond\n", "first; second"},
		"carriage return":   {"ok\rforged", `ok\rforged`},
		"not UTF-8":         {"a\xff\xfeb", `a\xff\xfeb`},
		"direction":         {"a\u202eb", `a\u202eb`},
		"letters and marks": {"Grüße, 世界", "Grüße, 世界"},
		"long": {
			"begin" + strings.Repeat("x", 3<<20) + "end",
			"begin" + strings.Repeat("x", (TextBytes-len(cut))/2-len("begin")) + cut + strings.Repeat("x", (TextBytes-len(cut))/2-len("end")) + "end",
		},
	} {
		t.Run(name, func(t *testing.T) { must.Eq(t, tc.want, Text(tc.in)) })
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "\n\n", "\x00\xff\u202e", strings.Repeat("世", TextBytes), strings.Repeat("\x1b", 5*TextBytes)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := Text(in)
		must.LessEq(t, TextBytes, len(out))
		must.True(t, utf8.ValidString(out))
		must.False(t, strings.ContainsFunc(out, func(r rune) bool { return r < ' ' || r == 0x7f }))
		must.Eq(t, out, Text(out), must.Sprint("a second pass"))
	})
}

func TestError_KeepsCause(t *testing.T) {
	cause := errors.New(strings.Repeat("\x1b", 1<<20))
	err := Error(cause)
	must.ErrorIs(t, err, cause)
	must.LessEq(t, TextBytes, len(err.Error()))
	must.Nil(t, Error(nil))
}

// FuzzRing checks that a ring contains the end of everything that was written to it.
func FuzzRing(f *testing.F) {
	f.Add([]byte("abc"), uint16(1), uint16(3))
	f.Add([]byte("0123456789"), uint16(OutputBytes-1), uint16(4))
	f.Add([]byte("x"), uint16(3*OutputBytes), uint16(2))
	f.Fuzz(func(t *testing.T, word []byte, size, writes uint16) {
		var r Ring
		var all []byte
		if len(word) == 0 {
			return
		}
		piece := []byte(strings.Repeat(string(word), int(size)/len(word)+1))
		for range writes % 32 {
			n, err := r.Write(piece)
			must.NoError(t, err)
			must.Eq(t, len(piece), n)
			all = append(all, piece...)
		}
		must.Eq(t, string(all[max(0, len(all)-OutputBytes):]), string(r.Bytes()))
	})
}

func TestRing_TakesNoMoreMemory(t *testing.T) {
	var r Ring
	piece := make([]byte, 32<<10)
	allocated := testing.AllocsPerRun(100, func() { _, _ = r.Write(piece) })
	must.Zero(t, allocated)
	must.Eq(t, OutputBytes, cap(r.kept))
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must.NoError(t, os.WriteFile(at("fits"), []byte("12345678"), 0o600))
	must.NoError(t, os.WriteFile(at("large"), []byte("123456789"), 0o600))
	must.NoError(t, os.Mkdir(at("directory"), 0o700))
	must.NoError(t, unix.Mkfifo(at("fifo"), 0o600))
	must.NoError(t, os.Symlink(at("fits"), at("link")))
	b, err := ReadFile(at("fits"), 8)
	must.NoError(t, err)
	must.Eq(t, "12345678", string(b))
	for _, name := range []string{"large", "directory", "fifo", "link"} {
		_, err := ReadFile(at(name), 8)
		must.ErrorIs(t, err, ErrUnfit, must.Sprint(name))
	}
	_, err = ReadFile("/dev/zero", 8)
	must.ErrorIs(t, err, ErrUnfit)
	_, err = ReadFile(at("missing"), 8)
	must.ErrorIs(t, err, os.ErrNotExist)
	// Files in /proc have no size; the limit applies to the read.
	_, err = ReadFile("/proc/self/status", 8)
	must.ErrorIs(t, err, ErrUnfit)
}
