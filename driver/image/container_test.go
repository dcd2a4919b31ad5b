package image_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
	"go.uber.org/goleak"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// local stores img by pulling it from an OCI layout.
func local(t testing.TB, s *image.Store, img v1.Image) image.Image {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	ociLayout(t, dir, map[string]v1.Image{"v": img})
	return ensure(t, s, "oci:"+dir, image.PullOptions{})
}

func TestMount_Release(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "shared"))
	a := mount(t, s, "alloc/web/1234", img)
	b := mount(t, s, "alloc/proxy/1234", img)
	must.NotEq(t, a, b)
	must.NoError(t, os.WriteFile(filepath.Join(a, "etc/hello"), []byte("mine"), 0o600))
	must.Eq(t, "shared", contents(t, b, "etc/hello"))
	must.Eq(t, a, mount(t, s, "alloc/web/1234", img))
	must.Eq(t, "mine", contents(t, a, "etc/hello"))
	must.SliceLen(t, 2, leakcheck.MountsBelow(t, h.dir))
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(a))
	must.NoError(t, err)
	must.StrContains(t, infos[0].Options, "nodev")
	must.StrNotContains(t, infos[0].VFSOptions, "metacopy=on")

	ids, err := s.Containers(testContext(t))
	must.NoError(t, err)
	must.SliceContainsAll(t, ids, []string{"alloc/web/1234", "alloc/proxy/1234"})

	other := local(t, s, hello(t, "other"))
	_, err = s.Mount(testContext(t), "alloc/web/1234", other)
	must.ErrorIs(t, err, image.ErrInUse)

	for range 2 {
		must.NoError(t, s.Release(testContext(t), "alloc/web/1234"))
	}
	must.NoError(t, s.Release(testContext(t), "alloc/never/1"))
	must.Eq(t, []string{b}, leakcheck.MountsBelow(t, h.dir))
	must.SliceLen(t, 3, h.layerDirs(t), must.Sprint("two images and one container"))
	must.Eq(t, "shared", contents(t, mount(t, s, "alloc/web/1234", img), "etc/hello"))
}

func TestMount_Invalid(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "x"))
	must.NoError(t, s.RemoveUnused(testContext(t), img.ID))
	_, err := s.Mount(testContext(t), "c", img)
	must.ErrorIs(t, err, image.ErrNotFound)
	must.StrContains(t, err.Error(), img.ID)
	_, err = s.Mount(testContext(t), "", img)
	must.ErrorIs(t, err, image.ErrInvalidConfig)
	must.SliceEmpty(t, h.layerDirs(t))
}

// Many containers are mounted and released concurrently, and one by several callers.
func TestMount_Concurrent(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, hello(t, "x"))
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			id := string(rune('a' + i/2)) // two for each id
			path, err := s.Mount(testContext(t), id, img)
			must.NoError(t, err)
			must.Eq(t, "x", contents(t, path, "etc/hello"))
		})
	}
	all.Wait()
	must.SliceLen(t, 8, leakcheck.MountsBelow(t, h.dir))
	for i := range 16 {
		all.Go(func() { must.NoError(t, s.Release(testContext(t), string(rune('a'+i/2)))) })
	}
	all.Wait()
	must.SliceEmpty(t, leakcheck.MountsBelow(t, h.dir))
	must.SliceLen(t, 1, h.layerDirs(t))
}

// TestMount_Layers checks the rules of the OCI image-spec's layer.md: whiteouts, opaque
// directories, links.
func TestMount_Layers(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, build(t, "amd64",
		layer(t, entry{name: "d/"}, entry{name: "d/gone", body: "1"}, entry{name: "d/kept", body: "2"},
			entry{name: "o/"}, entry{name: "o/hidden", body: "3"}, entry{name: "real/"},
			entry{name: "link", link: "real"}, entry{name: "out", link: "/etc/passwd"}),
		layer(t, entry{name: "d/"}, entry{name: "d/.wh.gone"}, entry{name: "o/"}, entry{name: "o/.wh..wh..opq"},
			entry{name: "o/new", body: "4"}, entry{name: "link/through", body: "5"},
			entry{name: "out/x", body: "6"}),
	))
	root := mount(t, s, "c", img)
	names := func(dir string) (list []string) {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		must.NoError(t, err)
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	must.Eq(t, []string{"kept"}, names("d"))
	must.Eq(t, []string{"new"}, names("o"))
	must.Eq(t, "4", contents(t, root, "o/new"))
	_, err := os.Stat("/etc/passwd/x")
	must.Error(t, err)
}

// The mount is visible to an OCI runtime started by this process.
func TestMount_VisibleToRuntime(t *testing.T) {
	needRoot(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc: ", err)
	}
	program, err := os.ReadFile("/usr/bin/catatonit") // statically linked
	if err != nil {
		t.Skip("needs catatonit: ", err)
	}
	h := newHome(t)
	s := h.open(t)
	img := local(t, s, build(t, "amd64", layer(t, entry{name: "app", body: string(program)}, entry{name: "proc/"},
		entry{name: "dev/"}, entry{name: "sys/"})))
	bundle := t.TempDir()
	cmd := exec.Command(runc, "spec", "-b", bundle)
	must.NoError(t, cmd.Run())
	var spec specs.Spec
	must.NoError(t, json.Unmarshal([]byte(contents(t, bundle, "config.json")), &spec))
	spec.Root = &specs.Root{Path: mount(t, s, "c", img)}
	spec.Process.Terminal = false
	spec.Process.Args = []string{"/app", "--version"}
	config, err := json.Marshal(spec)
	must.NoError(t, err)
	must.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600))
	out, err := exec.Command(runc, "--root", t.TempDir(), "run", "-b", bundle, filepath.Base(h.dir)+"-image-test").CombinedOutput()
	must.NoError(t, err, must.Sprint(string(out)))
	must.StrContains(t, string(out), "tini version")
}

func TestGC(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	used, idle := local(t, s, hello(t, "used")), local(t, s, hello(t, "idle"))
	mount(t, s, "c", used)

	removed, err := s.GC(testContext(t), time.Hour)
	must.NoError(t, err)
	must.SliceEmpty(t, removed)
	must.ErrorIs(t, s.RemoveUnused(testContext(t), used.ID), image.ErrInUse)

	long := time.Now().Add(-2 * time.Hour)
	for _, img := range []image.Image{used, idle} {
		must.NoError(t, os.Chtimes(h.root("used", img.ID), long, long))
	}
	removed, err = s.GC(testContext(t), time.Hour)
	must.NoError(t, err)
	must.Eq(t, []string{idle.ID}, removed)
	must.ErrorIs(t, s.RemoveUnused(testContext(t), idle.ID), image.ErrNotFound)

	// The last use of an image is the end of its last container.
	must.NoError(t, s.Release(testContext(t), "c"))
	removed, err = s.GC(testContext(t), time.Hour)
	must.NoError(t, err)
	must.SliceEmpty(t, removed)
	must.NoError(t, s.RemoveUnused(testContext(t), used.ID))
	must.SliceEmpty(t, h.layerDirs(t))
	left, err := os.ReadDir(h.root("used"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

// An image whose last use is in the future, because the clock was set back, is kept for the normal
// time from now on, not until that date.
func TestGC_ClockSetBack(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	idle := local(t, s, hello(t, "idle"))
	future := time.Now().Add(1000 * time.Hour)
	must.NoError(t, os.Chtimes(h.root("used", idle.ID), future, future))
	removed, err := s.GC(testContext(t), time.Hour)
	must.NoError(t, err)
	must.SliceEmpty(t, removed)
	removed, err = s.GC(testContext(t), time.Nanosecond)
	must.NoError(t, err)
	must.Eq(t, []string{idle.ID}, removed)
}

// Repeated cycles leak nothing, and Close stops everything.
func TestStore_NoLeaks(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	before := goleak.IgnoreCurrent()
	s := h.open(t)
	cycle := func() {
		img := ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullAlways})
		mount(t, s, "c", img)
		must.NoError(t, s.Release(testContext(t), "c"))
		_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{Platform: "linux/s390x"})
		must.ErrorIs(t, err, image.ErrPlatform)
	}
	cycle()
	descriptors := openDescriptors(t)
	for range 15 {
		cycle()
	}
	// The registry closes its side of a connection a little later.
	poll(t, "descriptors to be closed", func() bool { return openDescriptors(t) <= descriptors })
	must.NoError(t, s.Close())
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must.NoError(t, err)
	return len(entries)
}

// onTmpfs puts RunRoot on a tmpfs, like /run on most hosts.
func (h home) onTmpfs(b *testing.B) home {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "image-bench-")
	if err != nil {
		b.Skip("needs /dev/shm: ", err)
	}
	b.Cleanup(func() { must.NoError(b, os.RemoveAll(dir)) })
	h.conf.RunRoot = dir
	return h
}

func BenchmarkMount(b *testing.B) {
	h := newHome(b).onTmpfs(b)
	s := h.open(b)
	img := local(b, s, hello(b, "x"))
	var mounting, releasing time.Duration
	for b.Loop() {
		start := time.Now()
		mount(b, s, "c", img)
		middle := time.Now()
		must.NoError(b, s.Release(b.Context(), "c"))
		mounting, releasing = mounting+middle.Sub(start), releasing+time.Since(middle)
	}
	b.ReportMetric(float64(mounting.Microseconds())/float64(b.N), "µs/mount")
	b.ReportMetric(float64(releasing.Microseconds())/float64(b.N), "µs/release")
}

func BenchmarkEnsureCached(b *testing.B) {
	h, hub := hubHome(b)
	hub.push(b, "app:1", hello(b, "x"))
	s := h.onTmpfs(b).open(b)
	ref := parse(b, hub.ref("app:1"))
	_, err := s.Ensure(b.Context(), ref, image.PullOptions{})
	must.NoError(b, err)
	for b.Loop() {
		_, err := s.Ensure(b.Context(), ref, image.PullOptions{})
		must.NoError(b, err)
	}
}
