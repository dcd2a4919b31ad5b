package serve

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// Every kind of change is reported once, when it is complete.
func TestWatch_ReportsChangeOnce(t *testing.T) {
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	for _, path := range []string{one, other} {
		must.NoError(t, os.MkdirAll(filepath.Join(path, "sub"), 0o700))
	}
	link := filepath.Join(dir, "link")
	must.NoError(t, os.Symlink(one, link))
	file := filepath.Join(one, "sub", "a")
	write := func(path, text string) { must.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(file, "1")
	write(filepath.Join(other, "sub", "a"), "1")
	w := newWatch([]string{link, filepath.Join(dir, "none")})
	must.False(t, w.changed())
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"content", func() { write(file, "12") }},
		{"a file more", func() { write(filepath.Join(one, "sub", "b"), "") }},
		{"a file less", func() { must.NoError(t, os.Remove(filepath.Join(one, "sub", "b"))) }},
		{"time alone", func() { must.NoError(t, os.Chtimes(file, time.Time{}, time.Unix(1, 0))) }},
		{"a path that was not there", func() { write(filepath.Join(dir, "none"), "") }},
		{"a link to another folder", func() { must.NoError(t, os.Remove(link)); must.NoError(t, os.Symlink(other, link)) }},
	} {
		t.Run(change.name, func(t *testing.T) {
			change.do()
			must.False(t, w.changed(), must.Sprint("it may go on"))
			must.True(t, w.changed())
			must.False(t, w.changed())
		})
	}
	write(filepath.Join(dir, "beside"), "")
	must.False(t, w.changed())
	write(filepath.Join(other, "sub", "a"), "123")
	must.False(t, w.changed())
	write(filepath.Join(other, "sub", "a"), "1234")
	must.False(t, w.changed(), must.Sprint("it goes on"))
	must.True(t, w.changed())
}
