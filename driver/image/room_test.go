package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// smallHome is a store on a file system of 100 MiB.
func smallHome(t *testing.T, conf image.Config) (home, *image.Store) {
	t.Helper()
	h := newHome(t)
	must.NoError(t, unix.Mount("tmpfs", h.dir, "tmpfs", 0, "size=100m,nr_inodes=20000,mode=755"))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(h.dir, 0)) })
	h.conf.Keep, h.conf.GCHigh, h.conf.GCLow, h.conf.Removed = conf.Keep, conf.GCHigh, conf.GCLow, conf.Removed
	return h, h.open(t)
}

// usedPercent is how full the file system of a directory is.
func usedPercent(t testing.TB, dir string) float64 {
	t.Helper()
	var fs unix.Statfs_t
	must.NoError(t, unix.Statfs(dir, &fs))
	return 100 * float64(fs.Blocks-fs.Bfree) / float64(fs.Blocks-fs.Bfree+fs.Bavail)
}

// age sets the last use of images, the first one the longest ago.
func age(t testing.TB, h home, images ...image.Image) {
	t.Helper()
	for i, img := range images {
		at := time.Now().Add(time.Duration(i-len(images)) * time.Hour)
		must.NoError(t, os.Chtimes(h.root("used", img.ID), at, at))
	}
}

func stored(t testing.TB, h home, img image.Image) bool {
	t.Helper()
	_, err := os.Stat(h.root("overlay-images", img.ID))
	return err == nil
}

// TestMakeRoom fills a file system above the limit and checks that it falls below the lower one,
// that the least recently used images are removed first, and that those in use, held, kept or just
// pulled stay.
func TestMakeRoom(t *testing.T) {
	hub := newHub(t)
	var reasons []image.Reason
	h, s := smallHome(t, image.Config{
		Keep: []string{hub.host + "/sidecars/*"}, GCHigh: 85, GCLow: 75,
		Removed: func(_ string, why image.Reason) { reasons = append(reasons, why) },
	})
	h.conf.RegistriesConf = hub.conf
	must.NoError(t, s.Close())
	s = h.open(t)
	pull := func(name string) image.Image {
		hub.push(t, name, build(t, "amd64", bytesLayer(t, 9<<20)))
		return ensure(t, s, hub.ref(name), image.PullOptions{})
	}
	kept, used, mounted, held := pull("sidecars/log:1"), pull("used:1"), pull("mounted:1"), pull("held:1")
	var images []image.Image
	for i := range 4 {
		images = append(images, pull(fmt.Sprintf("app%d:1", i)))
	}
	mount(t, s, "c", used)
	mount(t, s, "c/image-0", mounted)
	release := s.Hold(held.ID)
	age(t, h, kept, used, mounted, held, images[2], images[0], images[3], images[1])

	removed, err := s.MakeRoom(testContext(t))
	must.NoError(t, err)
	must.SliceEmpty(t, removed, must.Sprint("the file system is not fuller than the limit"))

	filler := filepath.Join(h.dir, "filler")
	must.NoError(t, os.WriteFile(filler, make([]byte, 14<<20), 0o600))
	must.Greater(t, 85, usedPercent(t, h.dir))
	removed, err = s.MakeRoom(testContext(t))
	must.NoError(t, err)
	must.Eq(t, []string{images[2].ID, images[0].ID}, removed)
	must.Eq(t, []image.Reason{image.ReasonDisk, image.ReasonDisk}, reasons)
	must.Less(t, 75, usedPercent(t, h.dir))
	must.Greater(t, 65, usedPercent(t, h.dir), must.Sprint("no more than needed is removed"))

	// The last use survives a restart.
	must.NoError(t, s.Close())
	s = h.open(t)
	release()
	release = s.Hold(held.ID)
	fresh := pull("fresh:1")
	must.NoError(t, os.WriteFile(filler, make([]byte, 31<<20), 0o600))
	must.Greater(t, 90, usedPercent(t, h.dir))
	removed, err = s.MakeRoom(testContext(t))
	must.ErrorIs(t, err, image.ErrFull)
	must.Eq(t, []string{images[3].ID, images[1].ID}, removed)
	for _, img := range []image.Image{kept, used, mounted, held, fresh} {
		must.True(t, stored(t, h, img))
	}
	release()
	_, err = s.GC(testContext(t), 0)
	must.NoError(t, err)
	must.True(t, stored(t, h, kept), must.Sprint("an age does not remove a kept image either"))
	must.False(t, stored(t, h, held) || stored(t, h, fresh))
}

// TestMakeRoom_Pull checks that a pull makes room before it begins, and when its image does not fit
// although the limit was not reached.
func TestMakeRoom_Pull(t *testing.T) {
	h, s := smallHome(t, image.Config{GCHigh: 60, GCLow: 20})
	var old []image.Image
	for range 3 {
		old = append(old, local(t, s, build(t, "amd64", bytesLayer(t, 18<<20))))
	}
	age(t, h, old...)
	large := local(t, s, build(t, "amd64", bytesLayer(t, 40<<20)))
	must.True(t, stored(t, h, large))
	must.False(t, stored(t, h, old[0]))

	must.NoError(t, s.RemoveUnused(testContext(t), old[2].ID))
	age(t, h, large)
	must.NoError(t, os.WriteFile(filepath.Join(h.dir, "filler"), make([]byte, 15<<20), 0o600))
	must.Less(t, 60, usedPercent(t, h.dir))
	other := local(t, s, build(t, "amd64", bytesLayer(t, 27<<20)))
	must.True(t, stored(t, h, other))
	must.False(t, stored(t, h, large))
}

// TestMakeRoom_Inodes checks that a file system without inodes counts as full.
func TestMakeRoom_Inodes(t *testing.T) {
	h, s := smallHome(t, image.Config{GCHigh: 50, GCLow: 40})
	var entries []entry
	for i := range 9000 {
		entries = append(entries, entry{name: fmt.Sprint("f", i)})
	}
	img := local(t, s, build(t, "amd64", layer(t, entries...)))
	age(t, h, img)
	removed, err := s.MakeRoom(testContext(t))
	must.NoError(t, err)
	must.SliceEmpty(t, removed)
	for i := range 1500 {
		must.NoError(t, unix.Mknod(filepath.Join(h.dir, fmt.Sprint(i)), unix.S_IFREG|0o600, 0))
	}
	removed, err = s.MakeRoom(testContext(t))
	must.NoError(t, err)
	must.Eq(t, []string{img.ID}, removed)
}

func TestMakeRoom_NoLimit(t *testing.T) {
	h, s := smallHome(t, image.Config{})
	img := local(t, s, hello(t, "x"))
	age(t, h, img)
	must.NoError(t, os.WriteFile(filepath.Join(h.dir, "filler"), make([]byte, 98<<20), 0o600))
	removed, err := s.MakeRoom(testContext(t))
	must.NoError(t, err)
	must.SliceEmpty(t, removed)
}

// TestKeep checks which names a pattern keeps.
func TestKeep(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for pattern, tc := range map[string]struct{ yes, no []string }{
		"registry.example/sidecars/*": {
			yes: []string{"registry.example/sidecars/log:1", "registry.example/sidecars/log" + digest},
			no:  []string{"registry.example/sidecars/team/log:1", "registry.example/app:1", "evil.example/registry.example/sidecars/log:1"},
		},
		"registry.example/app":      {yes: []string{"registry.example/app:1", "registry.example/app" + digest}, no: []string{"registry.example/app2:1"}},
		"registry.example/app:1.*":  {yes: []string{"registry.example/app:1.2"}, no: []string{"registry.example/app:2"}},
		"registry.example:5000/app": {yes: []string{"registry.example:5000/app:1"}, no: []string{"registry.example:5000/other:1"}},
		"nginx":                     {yes: []string{"docker.io/library/nginx:1.27"}, no: []string{"registry.example/nginx:1.27"}},
		"team/*":                    {yes: []string{"docker.io/team/app:1"}, no: []string{"docker.io/library/team:1"}},
		"*/sidecars/*":              {yes: []string{"registry.example/sidecars/log:1"}, no: []string{"registry.example/app/log:1"}},
	} {
		must.NoError(t, image.CheckKeep(pattern))
		for _, name := range tc.yes {
			must.True(t, image.Keeps(image.Config{Keep: []string{pattern}}, name), must.Sprint(pattern, " ", name))
		}
		for _, name := range tc.no {
			must.False(t, image.Keeps(image.Config{Keep: []string{pattern}}, name), must.Sprint(pattern, " ", name))
		}
	}
	for _, pattern := range []string{"", "[", "registry.example/[a", "docker://nginx", "oci:/images/*", "https://registry.example/app", "a b", "/app"} {
		must.ErrorIs(t, image.CheckKeep(pattern), image.ErrInvalidConfig, must.Sprint(pattern))
	}
}

// TestKeep_TagMoved checks that the image that a kept tag named before is not kept.
func TestKeep_TagMoved(t *testing.T) {
	h, hub := hubHome(t)
	h.conf.Keep = []string{hub.host + "/app"}
	s := h.open(t)
	var images []image.Image
	for _, text := range []string{"old", "new"} {
		hub.push(t, "app:latest", hello(t, text))
		images = append(images, ensure(t, s, hub.ref("app:latest"), image.PullOptions{Policy: image.PullAlways}))
	}
	removed, err := s.GC(testContext(t), 0)
	must.NoError(t, err)
	must.Eq(t, []string{images[0].ID}, slices.Sorted(slices.Values(removed)))
}
