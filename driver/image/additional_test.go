package image_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// baked returns the path of a store with images, as of a machine image, on a read-only mount.
func baked(t *testing.T, hub *hub, refs ...string) string {
	t.Helper()
	h := newHome(t)
	h.conf.RegistriesConf = hub.conf
	s := h.open(t)
	for _, ref := range refs {
		ensure(t, s, ref, image.PullOptions{})
	}
	must.NoError(t, s.Close())
	dir := h.root()
	must.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return dir
}

// writable makes a store of baked writable.
func writable(t *testing.T, dir string) {
	t.Helper()
	must.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT, ""))
}

// tree lists the files below a directory with their sizes and times of change.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	must.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		fmt.Fprintf(&out, "%s %o %d %d %v\n", path, st.Mode, st.Uid, st.Size, st.Ctim)
		return err
	}))
	return out.String()
}

func withAdditional(t *testing.T, hub *hub, dirs ...string) (home, *image.Store) {
	t.Helper()
	h := newHome(t)
	h.conf.AdditionalStores, h.conf.RegistriesConf = dirs, hub.conf
	return h, h.open(t)
}

// TestAdditional starts containers from an additional store without a registry, by tag and by digest,
// and checks that nothing changes it, not even if it is writable.
func TestAdditional(t *testing.T) {
	hub := newHub(t)
	img := hello(t, "baked")
	hub.push(t, "app:1", img)
	digest, err := img.Digest()
	must.NoError(t, err)
	for _, mode := range []string{"read-only", "writable"} {
		t.Run(mode, func(t *testing.T) {
			dir := baked(t, hub, hub.ref("app:1"))
			if mode == "writable" {
				writable(t, dir)
			}
			before := tree(t, dir)
			hub.set(func() {
				hub.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
					w.WriteHeader(http.StatusNotFound)
					return true
				}
			})
			t.Cleanup(func() { hub.set(func() { hub.intercept = nil }) })
			h, s := withAdditional(t, hub, dir)
			for i, ref := range []string{hub.ref("app:1"), strings.TrimSuffix(hub.ref("app:1"), ":1") + "@" + digest.String()} {
				for _, policy := range []image.PullPolicy{image.PullMissing, image.PullNever} {
					found := ensure(t, s, ref, image.PullOptions{Policy: policy, Username: "other", Password: "user"})
					id := fmt.Sprint(i, policy)
					must.Eq(t, "baked", contents(t, mount(t, s, id, found), "etc/hello"))
					must.NoError(t, s.Release(testContext(t), id))
				}
			}
			_, err := s.Ensure(testContext(t), parse(t, hub.ref("app@"+"sha256:"+strings.Repeat("0", 64))), image.PullOptions{Policy: image.PullNever})
			must.ErrorIs(t, err, image.ErrNotFound)
			removed, err := s.GC(testContext(t), 0)
			must.NoError(t, err)
			must.SliceEmpty(t, removed)
			must.SliceEmpty(t, h.layerDirs(t))
			usage, err := s.Usage(testContext(t))
			must.NoError(t, err)
			must.Zero(t, usage.ImageBytes)
			must.NoError(t, s.Close())
			must.Eq(t, before, tree(t, dir))
			must.SliceEmpty(t, leakcheck.MountsBelow(t, h.dir))
		})
	}
}

// TestAdditional_Pulled checks images of the store itself that share an image's record or layers with an
// additional store: they run, and their removal leaves the additional store alone.
func TestAdditional_Pulled(t *testing.T) {
	hub := newHub(t)
	base := layer(t, entry{name: "etc/"}, entry{name: "etc/hello", body: "base"})
	hub.push(t, "base:1", build(t, "amd64", base))
	hub.push(t, "child:1", build(t, "amd64", base, layer(t, entry{name: "child", body: "c"})))
	config, err := build(t, "amd64", base).ConfigFile()
	must.NoError(t, err)
	config.Author = "another"
	relabel, err := mutate.ConfigFile(build(t, "amd64", base), config)
	must.NoError(t, err)
	hub.push(t, "config:1", relabel)
	dir := baked(t, hub, hub.ref("base:1"))
	writable(t, dir)
	before := tree(t, dir)
	h, s := withAdditional(t, hub, dir)
	shared, err := base.Digest()
	must.NoError(t, err)
	var fetched atomic.Bool
	hub.set(func() {
		hub.intercept = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, shared.String()) {
				fetched.Store(true)
			}
			return false
		}
	})
	child := ensure(t, s, hub.ref("child:1"), image.PullOptions{})
	again := ensure(t, s, hub.ref("base:1"), image.PullOptions{Policy: image.PullAlways})
	relabeled := ensure(t, s, hub.ref("config:1"), image.PullOptions{})
	for name, img := range map[string]image.Image{"child": child, "again": again, "config": relabeled} {
		root := mount(t, s, name, img)
		must.Eq(t, "base", contents(t, root, "etc/hello"), must.Sprint(name))
		info, err := os.Stat(root)
		must.NoError(t, err)
		must.Eq(t, 0o755, info.Mode().Perm())
		must.NoError(t, s.Release(testContext(t), name))
	}
	must.SliceLen(t, 1, h.layerDirs(t))
	must.False(t, fetched.Load(), must.Sprint("the shared layer was fetched"))
	_, err = s.GC(testContext(t), 0)
	must.NoError(t, err)
	must.SliceEmpty(t, h.layerDirs(t))
	must.Eq(t, before, tree(t, dir))
	must.Eq(t, again.ID, ensure(t, s, hub.ref("base:1"), image.PullOptions{Policy: image.PullNever}).ID)
}

// TestAdditional_NoLongerConfigured checks that images with layers of a store that is gone are pulled
// again.
func TestAdditional_NoLongerConfigured(t *testing.T) {
	hub := newHub(t)
	base := layer(t, entry{name: "etc/"}, entry{name: "etc/hello", body: "base"})
	hub.push(t, "base:1", build(t, "amd64", base))
	hub.push(t, "child:1", build(t, "amd64", base, layer(t, entry{name: "child", body: "c"})))
	h, s := withAdditional(t, hub, baked(t, hub, hub.ref("base:1")))
	ensure(t, s, hub.ref("child:1"), image.PullOptions{})
	must.NoError(t, s.Close())
	h.conf.AdditionalStores = nil
	s = h.open(t)
	root := mount(t, s, "c", ensure(t, s, hub.ref("child:1"), image.PullOptions{}))
	must.Eq(t, "base", contents(t, root, "etc/hello"))
}

// TestAdditional_Gone checks that a store which is unmounted or replaced while it is used neither ends
// the process nor is changed.
func TestAdditional_Gone(t *testing.T) {
	hub := newHub(t)
	hub.push(t, "app:1", hello(t, "baked"))
	dir := baked(t, hub, hub.ref("app:1"))
	h, s := withAdditional(t, hub, dir)
	must.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
	must.NoError(t, os.Rename(dir, dir+"-old"))
	must.Error(t, image.CheckStore(dir))
	img := ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullNever})
	must.Eq(t, "baked", contents(t, mount(t, s, "c", img), "etc/hello"))
	_, err := os.Stat(dir)
	must.ErrorIs(t, err, os.ErrNotExist)

	must.NoError(t, s.Release(testContext(t), "c"))
	must.NoError(t, s.Close())

	// The next process takes over the leftovers of a killed one.
	must.NoError(t, os.Rename(dir+"-old", dir))
	other := t.TempDir()
	for n, source := range []string{dir, dir, other} {
		at := filepath.Join(h.conf.RunRoot, "additional", fmt.Sprint(n))
		must.NoError(t, os.MkdirAll(at, 0o700))
		must.NoError(t, unix.Mount(source, at, "", unix.MS_BIND, ""))
	}
	s = h.open(t)
	must.SliceLen(t, 1, leakcheck.MountsBelow(t, h.dir))
	at := filepath.Join(h.conf.RunRoot, "additional", "0", "new")
	must.ErrorIs(t, os.WriteFile(at, nil, 0o600), unix.EROFS)
	img = ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullNever})
	must.Eq(t, "baked", contents(t, mount(t, s, "c", img), "etc/hello"))
}

// TestAdditional_OwnLayerLost checks that removing the store's own layer without files does not
// remove the files of the same layer in an additional store.
func TestAdditional_OwnLayerLost(t *testing.T) {
	hub := newHub(t)
	hub.push(t, "app:1", hello(t, "baked"))
	dir := baked(t, hub, hub.ref("app:1"))
	writable(t, dir)
	h := newHome(t)
	h.conf.RegistriesConf = hub.conf
	s := h.open(t)
	ensure(t, s, hub.ref("app:1"), image.PullOptions{})
	must.NoError(t, s.Close())
	for _, lost := range h.layerDirs(t) {
		must.NoError(t, os.RemoveAll(h.root("overlay", lost)))
	}
	before := tree(t, dir)
	h.conf.AdditionalStores = []string{dir}
	s = h.open(t)
	_, _ = s.GC(testContext(t), 0)
	must.Eq(t, before, tree(t, dir))
	img := ensure(t, s, hub.ref("app:1"), image.PullOptions{})
	must.Eq(t, "baked", contents(t, mount(t, s, "c", img), "etc/hello"))
}

// TestAdditional_ManyLayers mounts an image with layers that need more than a page of paths.
func TestAdditional_ManyLayers(t *testing.T) {
	hub := newHub(t)
	var layers []v1.Layer
	for i := range 100 {
		layers = append(layers, layer(t, entry{name: fmt.Sprint("f", i), body: fmt.Sprint(i)}))
	}
	hub.push(t, "app:1", build(t, "amd64", layers...))
	_, s := withAdditional(t, hub, baked(t, hub, hub.ref("app:1")))
	root := mount(t, s, "c", ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullNever}))
	must.Eq(t, "0", contents(t, root, "f0"))
	must.Eq(t, "99", contents(t, root, "f99"))
}

func TestCheckStore(t *testing.T) {
	hub := newHub(t)
	hub.push(t, "app:1", hello(t, "baked"))
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string) error
		want   string
	}{
		"missing": {func(_ *testing.T, dir string) error { return os.Rename(dir, dir+"-old") }, "no such file"},
		"file": {func(_ *testing.T, dir string) error {
			return errorsOf(os.Rename(dir, dir+"-old"), os.WriteFile(dir, nil, 0o600))
		}, "is not a directory"},
		"empty": {func(_ *testing.T, dir string) error {
			return errorsOf(os.Rename(dir, dir+"-old"), os.Mkdir(dir, 0o755))
		}, "it has no directory overlay"},
		"other user": {func(_ *testing.T, dir string) error { return os.Chown(dir, 65534, 65534) }, "belongs to user 65534"},
		"writable":   {func(_ *testing.T, dir string) error { return os.Chmod(filepath.Join(dir, "overlay-images"), 0o777) }, "users other than root can write to"},
		"images": {func(_ *testing.T, dir string) error {
			return os.Chmod(filepath.Join(dir, "overlay-images/images.json"), 0o666)
		}, "users other than root can write to"},
		"no lock": {func(_ *testing.T, dir string) error {
			return os.Remove(filepath.Join(dir, "overlay-layers/layers.lock"))
		}, "the lock file"},
		"damaged": {func(_ *testing.T, dir string) error {
			return os.Truncate(filepath.Join(dir, "overlay-layers/layers.json"), 20)
		}, "is damaged"},
		"no list": {func(_ *testing.T, dir string) error {
			return os.Remove(filepath.Join(dir, "overlay-images/images.json"))
		}, "no such file"},
		"incomplete": {func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "overlay-layers/layers.json"), []byte("[]"), 0o600)
		}, "copy the complete store"},
		"no files": {func(t *testing.T, dir string) error {
			return os.RemoveAll(layerFiles(t, dir))
		}, "a layer has no files"},
		"force_mask": {func(t *testing.T, dir string) error {
			return unix.Setxattr(layerFiles(t, dir), "user.containers.override_stat", []byte("0:0:0755"), 0)
		}, "was stored with force_mask"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := baked(t, hub, hub.ref("app:1"))
			must.NoError(t, image.CheckStore(dir))
			must.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
			must.NoError(t, tc.damage(t, dir))
			must.ErrorContains(t, image.CheckStore(dir), tc.want)
			h := newHome(t)
			h.conf.AdditionalStores = []string{dir}
			_, err := image.Open(h.conf)
			must.ErrorContains(t, err, tc.want)
		})
	}
	h := newHome(t)
	must.NoError(t, h.open(t).Close())
	h.conf.AdditionalStores = []string{h.root()}
	_, err := image.Open(h.conf)
	must.ErrorIs(t, err, image.ErrInvalidConfig)
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// layerFiles returns the directory of the files of a store's only layer.
func layerFiles(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "overlay", "*", "diff"))
	must.NoError(t, err)
	must.SliceLen(t, 1, found)
	return found[0]
}
