package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/jobs/internal/atomicfile"
)

func open(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, root.Close()) })
	return root
}

func names(t *testing.T, root *os.Root) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(root.Name())
	must.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestWriteReplacesTheFileAndNotWhatReadersHaveOpen(t *testing.T) {
	root := open(t)
	must.NoError(t, atomicfile.Write(root, "a", []byte("old"), 0o600))
	reader, err := root.Open("a")
	must.NoError(t, err)
	defer reader.Close()

	must.NoError(t, atomicfile.Write(root, "a", []byte("new"), 0o666))
	content := make([]byte, 10)
	n, err := reader.Read(content)
	must.NoError(t, err)
	must.Eq(t, "old", string(content[:n]))
	after, err := root.ReadFile("a")
	must.NoError(t, err)
	must.Eq(t, "new", string(after))
	info, err := root.Stat("a")
	must.NoError(t, err)
	must.Eq(t, fs.FileMode(0o666), info.Mode(), must.Sprint("the umask does not count"))
	must.Eq(t, []string{"a"}, names(t, root))
}

func TestWriteThatFailsLeavesNothing(t *testing.T) {
	root := open(t)
	must.NoError(t, root.Mkdir("a", 0o755)) // nothing can be renamed over a directory
	err := atomicfile.Write(root, "a", []byte("new"), 0o600)
	must.ErrorContains(t, err, "write "+filepath.Join(root.Name(), "a"))
	must.Eq(t, []string{"a"}, names(t, root))

	must.ErrorIs(t, atomicfile.Write(root, "missing/a", nil, 0o600), fs.ErrNotExist)
}

func TestWriteStaysBelowTheRoot(t *testing.T) {
	root := open(t)
	outside := t.TempDir()
	must.NoError(t, os.Symlink(outside, filepath.Join(root.Name(), "link")))
	must.Error(t, atomicfile.Write(root, "link/a", []byte("new"), 0o600))
	must.Error(t, atomicfile.Write(root, "../a", []byte("new"), 0o600))
	left, err := os.ReadDir(outside)
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}
