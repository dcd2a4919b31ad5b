package pod

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Tasks with the same entries share a host root, and a host root has mount points only for mounts
// of its tasks.
func TestHostRoot_UsualTargets(t *testing.T) {
	s, err := newHostRoot([]HostPath{{"/etc/passwd", "/etc/passwd"}, {"/usr", "/usr"}})
	must.NoError(t, err)
	plain := s.withTargets(Task{})
	alike := s.withTargets(Task{Name: "other", Mounts: []ocispec.Mount{ocispec.Bind("/srv", "/data", false)}})
	must.Eq(t, plain.name(), alike.name())
	usual := s.withTargets(Task{
		Mounts: []ocispec.Mount{ocispec.Bind("/a", "/alloc", false)},
		Files:  []File{{Target: "/etc/hosts"}},
	})
	must.NotEq(t, plain.name(), usual.name())

	dir := filepath.Join(t.TempDir(), "root")
	must.NoError(t, usual.make(dir))
	for path, isDir := range map[string]bool{"alloc": true, "usr": true, "etc/passwd": false, "etc/hosts": false} {
		info, err := os.Stat(filepath.Join(dir, path))
		must.NoError(t, err)
		must.Eq(t, isDir, info.IsDir(), must.Sprint(path))
	}
	for _, path := range []string{"data", "local", "etc/resolv.conf"} {
		_, err = os.Stat(filepath.Join(dir, path))
		must.ErrorIs(t, err, os.ErrNotExist, must.Sprint(path))
	}
}

// Entries below a symbolic link are created in the host root, not on the host.
func TestHostRoot_LinksStayInside(t *testing.T) {
	host, root := t.TempDir(), filepath.Join(t.TempDir(), "root")
	real, link := filepath.Join(host, "real"), filepath.Join(host, "link")
	must.NoError(t, os.MkdirAll(filepath.Join(real, "dir"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(real, "file"), []byte("own"), 0o600))
	must.NoError(t, os.Symlink(real, link))
	must.NoError(t, os.Symlink(filepath.Join(real, "file"), filepath.Join(host, "hosts")))
	var paths []HostPath
	for _, p := range []string{real, link, filepath.Join(host, "hosts"), filepath.Join(link, "file"), filepath.Join(link, "dir")} {
		paths = append(paths, HostPath{p, p})
	}
	s, err := newHostRoot(paths)
	must.NoError(t, err)
	s = s.withTargets(Task{})
	s.entries = append(s.entries, entry{filepath.Join(host, "hosts"), 0o644, ""}, entry{filepath.Join(link, "new"), 0o644, ""})
	must.NoError(t, s.make(root))
	b, err := os.ReadFile(filepath.Join(real, "file"))
	must.NoError(t, err)
	must.Eq(t, "own", string(b))
	_, err = os.Stat(filepath.Join(real, "new"))
	must.ErrorIs(t, err, os.ErrNotExist)
	_, err = os.Stat(filepath.Join(root, real, "new"))
	must.NoError(t, err)
}

// A host root is created atomically, and recreated if it was removed.
func TestLayers_LowerIsCreatedOnce(t *testing.T) {
	m := New(Config{RunDir: t.TempDir(), DataDir: t.TempDir()})
	s, err := newHostRoot(nil)
	must.NoError(t, err)
	part := filepath.Join(m.layers.dir, s.name()+".part")
	must.NoError(t, os.MkdirAll(filepath.Join(part, "half"), 0o755))
	for range 2 {
		at, err := m.layers.lower(s)
		must.NoError(t, err)
		_, err = os.Stat(filepath.Join(at, "var/tmp"))
		must.NoError(t, err)
		_, err = os.Stat(filepath.Join(at, "half"))
		must.ErrorIs(t, err, os.ErrNotExist)
		entries, err := os.ReadDir(m.layers.dir)
		must.NoError(t, err)
		must.Len(t, 1, entries)
		if err := os.Mkdir(filepath.Join(at, "kept"), 0o755); err != nil { // exists the second time if it is the same directory
			must.ErrorIs(t, err, os.ErrExist)
		}
	}
	must.NoError(t, m.layers.sweep())
	at, err := m.layers.lower(s)
	must.NoError(t, err)
	_, err = os.Stat(filepath.Join(at, "kept"))
	must.ErrorIs(t, err, os.ErrNotExist)
	must.NoError(t, m.Close())
}

// TestParallel_WaitTwice checks that each wait returns the same error.
func TestParallel_WaitTwice(t *testing.T) {
	failed := errors.New("failed")
	wait := parallel(func() error { return failed })
	must.ErrorIs(t, wait(), failed)
	must.ErrorIs(t, wait(), failed)
}
