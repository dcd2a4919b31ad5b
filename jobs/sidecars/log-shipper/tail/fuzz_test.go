package tail

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzTail: no byte of a log is lost, repeated or changed, whatever other files
// are beside it.
func FuzzTail(f *testing.F) {
	f.Add([]byte("one\ntwo\n"), "web.stdout.1")
	f.Add([]byte("\x00\xff\n\n\r\nlong line without an end"), "a.stdout.1.stderr.0")
	f.Add(bytes.Repeat([]byte("x"), 100), ".stdout.0")
	f.Fuzz(func(t *testing.T, content []byte, other string) {
		dir := t.TempDir()
		must.NoError(t, os.WriteFile(filepath.Join(dir, "app.stdout.0"), content, 0o600))
		_ = os.WriteFile(filepath.Join(dir, filepath.Base(other)), nil, 0o600) // a name that the system refuses is none
		tail, err := Open(dir, Options{
			MaxLineBytes: 16, Lost: func(Stream, string) {},
			Wanted: func(s Stream) bool { return s == Stream{"app", "stdout"} },
		})
		must.NoError(t, err)
		defer func() { must.NoError(t, tail.Close()) }()
		var got []byte
		take := func(l Line) bool {
			must.LessEq(t, 16, len(l.Text))
			got = append(got, l.Text...)
			if !l.Partial {
				got = append(got, '\n')
			}
			return true
		}
		must.NoError(t, tail.Read(take))
		tail.Rest(take)
		must.Eq(t, string(bytes.TrimSuffix(content, []byte("\n"))), string(bytes.TrimSuffix(got, []byte("\n"))))
	})
}
