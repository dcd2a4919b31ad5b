package sink_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/sidecars/log-shipper/sink"
)

func send(t *testing.T, f *sink.File, body string) {
	t.Helper()
	must.NoError(t, f.Send(t.Context(), sink.Batch{Body: []byte(body)}))
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must.NoError(t, err)
	return string(data)
}

func TestFileTakesBackWhatNobodyHasAnAccountOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "app.log")
	f, err := sink.OpenFile(path, nil, sink.FileOptions{})
	must.NoError(t, err)
	send(t, f, "one\n")
	last := f.Position()
	send(t, f, "two\n")
	must.NoError(t, f.Close())

	f, err = sink.OpenFile(path, last, sink.FileOptions{})
	must.NoError(t, err)
	must.Eq(t, "one\n", content(t, path))
	send(t, f, "zwei\n")
	must.NoError(t, f.Close())
	must.Eq(t, "one\nzwei\n", content(t, path))
}

func TestFileKeepsWhatItDidNotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	must.NoError(t, os.WriteFile(path, []byte("before\n"), 0o600))
	f, err := sink.OpenFile(path, nil, sink.FileOptions{})
	must.NoError(t, err)
	send(t, f, "one\n")
	last := f.Position()
	must.NoError(t, f.Close())
	must.Eq(t, "before\none\n", content(t, path))

	// Another file is at its place; the old one keeps its inode.
	must.NoError(t, os.Rename(path, path+".old"))
	must.NoError(t, os.WriteFile(path, []byte("a long text of someone else\n"), 0o600))
	f, err = sink.OpenFile(path, last, sink.FileOptions{})
	must.NoError(t, err)
	send(t, f, "two\n")
	must.NoError(t, f.Close())
	must.Eq(t, "a long text of someone else\ntwo\n", content(t, path))
}

func TestFileIsForOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f, err := sink.OpenFile(path, nil, sink.FileOptions{})
	must.NoError(t, err)
	defer f.Close()
	_, err = sink.OpenFile(path, nil, sink.FileOptions{})
	must.ErrorContains(t, err, "another log-shipper writes to it: give each allocation a file of its own")
	_, err = sink.OpenFile("/dev/null", nil, sink.FileOptions{})
	must.ErrorContains(t, err, "not a regular file")
}

func TestFullFilesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f, err := sink.OpenFile(path, nil, sink.FileOptions{MaxBytes: 5, Keep: 2})
	must.NoError(t, err)
	for _, line := range []string{"1\n", "22222\n", "33333\n", "44444\n", "5\n"} {
		send(t, f, line)
		_, err := f.Tidy()
		must.NoError(t, err)
	}
	must.NoError(t, f.Close())
	must.Eq(t, "5\n", content(t, path))
	must.Eq(t, "44444\n", content(t, path+".1"))
	must.Eq(t, "33333\n", content(t, path+".2"))
	_, err = os.Stat(path + ".3")
	must.ErrorIs(t, err, os.ErrNotExist)
}

// After a crash in the middle of a change of files the position is that of the
// full one.
func TestCrashWhileFilesChange(t *testing.T) {
	for name, crash := range map[string]func(path string) error{
		"before the new one": func(path string) error { return os.Rename(path, path+".1") },
		"after the new one": func(path string) error {
			if err := os.Rename(path, path+".1"); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o640)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			options := sink.FileOptions{MaxBytes: 5, Keep: 2}
			f, err := sink.OpenFile(path, nil, options)
			must.NoError(t, err)
			send(t, f, strings.Repeat("x", 10))
			last := f.Position()
			must.NoError(t, f.Close())
			must.NoError(t, crash(path))

			f, err = sink.OpenFile(path, last, options)
			must.NoError(t, err)
			send(t, f, "new\n")
			must.NoError(t, f.Close())
			must.Eq(t, "new\n", content(t, path))
			must.Eq(t, strings.Repeat("x", 10), content(t, path+".1"))
		})
	}
}
