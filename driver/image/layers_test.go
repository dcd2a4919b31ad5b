package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// rawLayer returns a layer with exactly these entries. A regular file contains its name.
func rawLayer(t testing.TB, headers ...tar.Header) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		must.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, h.Name)
			must.NoError(t, err)
		}
	}
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	must.NoError(t, err)
	return l
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, Uid: 5, Gid: 6}
}

// The root directory has the mode and owner of its last entry in any layer, and 0755 of root
// without an entry.
func TestMount_RootDirectory(t *testing.T) {
	h, hub := hubHome(t)
	s := h.open(t)
	file := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
	for name, c := range map[string]struct {
		layers []v1.Layer
		mode   fs.FileMode
		owner  uint32
	}{
		"no entry":    {[]v1.Layer{rawLayer(t, file("a")), rawLayer(t, file("b"))}, 0o755, 0},
		"first layer": {[]v1.Layer{rawLayer(t, dir("./", 0o555), file("a")), rawLayer(t, file("b"))}, 0o555, 5},
		"last layer":  {[]v1.Layer{rawLayer(t, dir("./", 0o555), file("a")), rawLayer(t, file("c"), dir(".", 0o1777))}, 0o777 | fs.ModeSticky, 5},
		"slash":       {[]v1.Layer{rawLayer(t, file("a"), dir("/", 0o711))}, 0o711, 5},
		"long header": {[]v1.Layer{rawLayer(t, file("e"), tar.Header{
			Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 5, PAXRecords: map[string]string{"comment": strings.Repeat("x", 100000)},
		})}, 0o700, 5},
	} {
		t.Run(name, func(t *testing.T) {
			repo := strings.ReplaceAll(name, " ", "-") + ":1"
			hub.push(t, repo, build(t, "amd64", c.layers...))
			root := mount(t, s, name, ensure(t, s, hub.ref(repo), image.PullOptions{}))
			info, err := os.Stat(root)
			must.NoError(t, err)
			must.Eq(t, c.mode|fs.ModeDir, info.Mode())
			must.Eq(t, c.owner, info.Sys().(*syscall.Stat_t).Uid)
		})
	}
}

// TestEnsure_LayerNotUnpackable checks that the error names the entry that cannot be unpacked.
func TestEnsure_LayerNotUnpackable(t *testing.T) {
	h, hub := hubHome(t)
	s := h.open(t)
	long := strings.Repeat("n", 300)
	lower := rawLayer(t, dir("d", 0o755), tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"})
	for name, c := range map[string]struct {
		entry tar.Header
		want  string
	}{
		"link":           {tar.Header{Name: "h2", Typeflag: tar.TypeLink, Linkname: "nowhere/h1"}, `"/h2" names "/nowhere/h1", which is in no layer`},
		"link by dots":   {tar.Header{Name: "h2", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}, `"/etc/shadow", which is in no layer`},
		"link to a link": {tar.Header{Name: "h2", Typeflag: tar.TypeLink, Linkname: "link/passwd"}, `"/link/passwd", which is in no layer`},
		"link to a dir":  {tar.Header{Name: "h2", Typeflag: tar.TypeLink, Linkname: "d"}, `"/d", which is not a regular file`},
		"long name":      {tar.Header{Name: long}, "/nnn"},
		"unknown type":   {tar.Header{Name: "odd", Typeflag: 'Q'}, `"/odd" has the unknown type 'Q'`},
		"overlay xattr": {tar.Header{Name: "d/esc/", Typeflag: tar.TypeDir, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/../etc"}},
			`"/d/esc" has an extended attribute trusted.overlay.*`},
		"escapes": {tar.Header{Name: "a\x1b[31m\nb", Typeflag: tar.TypeLink, Linkname: "x\ny"}, `"/a\x1b[31m\nb" names "/x\ny"`},
	} {
		t.Run(name, func(t *testing.T) {
			repo := strings.ReplaceAll(name, " ", "-") + ":1"
			hub.push(t, repo, build(t, "amd64", lower, rawLayer(t, c.entry)))
			_, err := s.Ensure(testContext(t), parse(t, hub.ref(repo)), image.PullOptions{})
			must.ErrorIs(t, err, image.ErrInvalidImage)
			must.ErrorContains(t, err, hub.ref(repo))
			must.ErrorContains(t, err, c.want)
			must.Less(t, 1024, len(err.Error()))
			_, again := s.Ensure(testContext(t), parse(t, hub.ref(repo)), image.PullOptions{})
			must.ErrorContains(t, again, c.want, must.Sprint("error of a second pull"))
			t.Log(err)
		})
	}
}

// A hard link may refer to a file of a lower layer. The two are then the same file.
func TestMount_HardLinkAcrossLayers(t *testing.T) {
	h, hub := hubHome(t)
	s := h.open(t)
	first := rawLayer(t, dir("d", 0o755), tar.Header{
		Name: "d/h1", Mode: 0o4751, Uid: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "kept"},
	})
	link := tar.Header{Name: "h2", Typeflag: tar.TypeLink, Linkname: "/d/h1", Mode: 0o4751, Uid: 3}
	hub.push(t, "app:1", build(t, "amd64", first, rawLayer(t, tar.Header{Name: "other"}), rawLayer(t, tar.Header{Name: "a"}, link, tar.Header{Name: "z"})))
	root := mount(t, s, "c", ensure(t, s, hub.ref("app:1"), image.PullOptions{}))
	for _, name := range []string{"d/h1", "h2"} {
		info, err := os.Stat(filepath.Join(root, name))
		must.NoError(t, err)
		must.Eq(t, 0o751|fs.ModeSetuid, info.Mode())
		st := info.Sys().(*syscall.Stat_t)
		must.Eq(t, 2, st.Nlink)
		must.Eq(t, 3, st.Uid)
		must.Eq(t, "d/h1", contents(t, root, name))
		note := make([]byte, 10)
		n, err := syscall.Getxattr(filepath.Join(root, name), "user.note", note)
		must.NoError(t, err)
		must.Eq(t, "kept", string(note[:n]))
	}
	for _, name := range []string{"other", "a", "z"} {
		must.Eq(t, name, contents(t, root, name))
	}
	ensure(t, s, hub.ref("app:1"), image.PullOptions{Policy: image.PullAlways})

	for name, layers := range map[string][]v1.Layer{
		"removed":      {first, rawLayer(t, tar.Header{Name: "d/.wh.h1"}), rawLayer(t, link)},
		"removed-dir":  {first, rawLayer(t, tar.Header{Name: ".wh.d"}), rawLayer(t, link)},
		"opaque":       {first, rawLayer(t, dir("d", 0o755), tar.Header{Name: "d/.wh..wh..opq"}), rawLayer(t, link)},
		"same-opaque":  {first, rawLayer(t, tar.Header{Name: "d/.wh..wh..opq"}, link)},
		"replaced-dir": {first, rawLayer(t, tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "/"}), rawLayer(t, link)},
	} {
		hub.push(t, name+":1", build(t, "amd64", layers...))
		_, err := s.Ensure(testContext(t), parse(t, hub.ref(name+":1")), image.PullOptions{})
		must.ErrorIs(t, err, image.ErrInvalidImage, must.Sprint(name))
		must.ErrorContains(t, err, `hard link "/h2" names "/d/h1"`, must.Sprint(name))
	}
}

// nest returns an index around an index, the given number of times.
func nest(index v1.ImageIndex, times int) v1.ImageIndex {
	for range times {
		index = mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	}
	return index
}

func TestEnsure_NestedIndexes(t *testing.T) {
	h, hub := hubHome(t)
	s := h.open(t)
	platform := func(arch, text string) mutate.IndexAddendum {
		return mutate.IndexAddendum{
			Add:        build(t, arch, layer(t, entry{name: "hello", body: text})),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		}
	}
	both := mutate.AppendManifests(empty.Index, platform("arm64", "foreign"), platform("amd64", "native"))
	for times, name := range []string{"one", "two", "three", "four"} {
		index := nest(both, times)
		hub.pushIndex(t, name+":1", index)
		digest, err := index.Digest()
		must.NoError(t, err)
		for _, ref := range []string{hub.ref(name + ":1"), hub.ref(name + "@" + digest.String())} {
			img := ensure(t, s, ref, image.PullOptions{})
			must.Eq(t, "native", contents(t, mount(t, s, ref, img), "hello"), must.Sprint(ref))
			hub.fetched()
			must.Eq(t, img, ensure(t, s, ref, image.PullOptions{}))
			manifests, _ := hub.fetched()
			must.Zero(t, manifests, must.Sprint(ref, ": it is in the store under this name"))
		}
		img := ensure(t, s, hub.ref(name+":1"), image.PullOptions{Platform: "linux/arm64"})
		must.Eq(t, "foreign", contents(t, mount(t, s, name, img), "hello"))
	}
	hub.pushIndex(t, "deep:1", nest(both, 4))
	_, err := s.Ensure(testContext(t), parse(t, hub.ref("deep:1")), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrInvalidImage)
	must.ErrorContains(t, err, "nested")
	t.Log(err)
	hub.pushIndex(t, "none:1", nest(mutate.AppendManifests(empty.Index, platform("arm64", "x")), 1))
	_, err = s.Ensure(testContext(t), parse(t, hub.ref("none:1")), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrPlatform)
}

// A layout that holds a nested index needs no registry.
func TestEnsure_NestedIndexInLayout(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	at := filepath.Join(t.TempDir(), "layout")
	writeIndex(t, at, nest(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: hello(t, "x")}), 1))
	img := ensure(t, s, "oci:"+at, image.PullOptions{})
	must.Eq(t, "x", contents(t, mount(t, s, "c", img), "etc/hello"))
}

// writeIndex writes a layout whose only image is an index.
func writeIndex(t testing.TB, at string, index v1.ImageIndex) {
	t.Helper()
	_, err := layout.Write(at, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index}))
	must.NoError(t, err)
}

// TestEnsure_PullKilled checks that an OOM kill by the host is not reported as an error of the
// image.
func TestEnsure_PullKilled(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	stalled := stall(t, hub)
	s := h.open(t)
	result := make(chan error, 1)
	go func() {
		_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
		result <- err
	}()
	<-stalled.begun
	children, err := filepath.Glob("/proc/self/task/*/children")
	must.NoError(t, err)
	for _, file := range children {
		for _, child := range strings.Fields(contents(t, file)) {
			pid, err := strconv.Atoi(child)
			must.NoError(t, err)
			if strings.HasPrefix(contents(t, "/proc", child, "cmdline"), "pod-image-pull") {
				must.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}
	}
	err = <-result
	must.ErrorContains(t, err, "the pull process was killed")
	must.False(t, errors.Is(err, image.ErrInvalidImage), must.Sprint(err))
	t.Log(err)
}
