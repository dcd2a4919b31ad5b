package pod

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Tasks that differ in nothing that is in a skeleton have it in common, and a
// skeleton has the targets of those mounts only that its tasks have.
func TestSkeletonsHaveTheUsualTargets(t *testing.T) {
	s, err := newSkeleton([]HostPath{{"/etc/passwd", "/etc/passwd"}, {"/usr", "/usr"}})
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

// A skeleton is there as a whole or not at all, and again where it was removed.
func TestASkeletonIsMadeOnce(t *testing.T) {
	m := New(Config{RunDir: t.TempDir(), DataDir: t.TempDir()})
	s, err := newSkeleton(nil)
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
		if err := os.Mkdir(filepath.Join(at, "kept"), 0o755); err != nil { // the second time it is the same
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

// What goes on beside a start is waited for however often, with the same end.
func TestBesideIsWaitedForByAll(t *testing.T) {
	failed := errors.New("failed")
	wait := beside(func() error { return failed })
	must.ErrorIs(t, wait(), failed)
	must.ErrorIs(t, wait(), failed)
}
