package driver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// Tasks with a broken or hostile registry or image.

// brokenRegistry is a registry whose responses a test can replace.
type brokenRegistry struct {
	next   http.Handler
	blobs  func(digest string) bool
	answer atomic.Pointer[http.HandlerFunc]
}

func (s *brokenRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f := s.answer.Load(); f != nil && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") && s.blobs(path.Base(r.URL.Path)) {
		(*f)(w, r)
		return
	}
	s.next.ServeHTTP(w, r)
}

// TestPull_BrokenRegistry checks that a start with a misbehaving registry fails in bounded time
// with the registry's name and the reason, leaves nothing behind and does not affect other tasks.
func TestPull_BrokenRegistry(t *testing.T) {
	const size, most = 1 << 20, 2 << 30
	var sent atomic.Int64
	endless := func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil && sent.Load() < most { // bounds the test if the client never disconnects
			k, err := w.Write(chunk)
			if sent.Add(int64(k)); err != nil {
				return
			}
		}
	}
	answers := map[string]struct {
		answer http.HandlerFunc
		config bool // replaces the image's config, otherwise its layers
		want   string
	}{
		"is silent": {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: "no data arrived for"},
		"stalls": {answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = w.Write(make([]byte, 1000))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, want: "no data arrived for"},
		"lies": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.Repeat([]byte("x"), size)))
		}, want: "igest"},
		"sends without end":          {answer: endless, want: "more data arrived than the manifest states"},
		"sends a config without end": {answer: endless, config: true, want: "exceeded maximum allowed size"},
		"is broken": {answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>oops</html>", http.StatusForbidden)
		}, want: "403"},
	}
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for name, tc := range answers {
			t.Run(name, func(t *testing.T) {
				g := newAuthRegistry(t)
				image := g.push(t, "app:v1", size)
				layers := g.layers(t, image)
				s := &brokenRegistry{next: g.next, blobs: func(digest string) bool { return slices.Contains(layers, digest) != tc.config }}
				g.next = s
				n := newNode(t, func(c *driver.PluginConfig) {
					c.Runtime, c.Image.PullActivityTimeout, c.Image.PullTimeout = runtime, testtimeout.Scale(500*time.Millisecond).String(), maxWait.String()
				})
				other := n.startBystander()
				sent.Store(0)
				s.answer.Store(&tc.answer)
				config := driver.TaskConfig{Image: image, Auth: driver.AuthConfig{Username: registryUser, Password: registryPassword}}
				err := n.startError(n.newTask("", "hapless", config, quiet))
				for _, want := range []string{tc.want, image} {
					must.ErrorContains(t, err, want)
				}
				must.Less(t, most, sent.Load())
				other.checkUnharmed()
				left, err := filepath.Glob(filepath.Join(n.config.DataDir, "images", "used", "*"))
				must.NoError(t, err)
				must.SliceEmpty(t, left)
				s.answer.Store(nil)
				n.checkStarts(config)
			})
		}
	})
}

// TestPull_LayerEscapes checks that a layer cannot write outside of the image's root, and that
// files of the host are not visible in its task.
func TestPull_LayerEscapes(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o777} }
	link := func(kind byte, name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: kind, Linkname: to}
	}
	up := strings.Repeat("../", 20)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for name, entries := range map[string][]tar.Header{
			"dots":                {file(up + victim[1:])},
			"absolute":            {file(victim)},
			"link":                {link(tar.TypeSymlink, "l", victim), file("l")},
			"link to a directory": {link(tar.TypeSymlink, "d", dir), file("d/victim"), file("d/new")},
			"relative link":       {link(tar.TypeSymlink, "d", up+dir[1:]), file("d/victim")},
			"hard link":           {link(tar.TypeLink, "h", victim), file("h")},
			"hard link by dots":   {link(tar.TypeLink, "h", up+victim[1:]), file("h")},
			"hard link by link":   {link(tar.TypeSymlink, "d", dir), link(tar.TypeLink, "h", "d/victim"), file("h")},
			"whiteout":            {link(tar.TypeSymlink, "d", dir), file("d/.wh.victim"), file("d/.wh..wh..opq")},
			"users by link":       {link(tar.TypeSymlink, "etc", "/etc"), file("etc/new-by-image")},
		} {
			t.Run(name, func(t *testing.T) {
				must.NoError(t, os.WriteFile(victim, []byte("intact"), 0o600))
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
				reference := testimage.Layout(t, t.TempDir(), withLayer(t, scratch(t), entries...))
				tk := n.newTask("", "climber", driver.TaskConfig{Image: reference}, quiet)
				if _, _, err := n.StartTask(tk.TaskConfig); err == nil {
					tk.wait()
					must.NoError(t, n.DestroyTask(tk.ID, true))
				} else {
					must.ErrorContains(t, err, reference)
				}
				text, err := os.ReadFile(victim)
				must.NoError(t, err)
				must.Eq(t, "intact", string(text))
				beside, err := os.ReadDir(dir)
				must.NoError(t, err)
				must.SliceLen(t, 1, beside)
				_, err = os.Lstat("/etc/new-by-image")
				must.ErrorIs(t, err, os.ErrNotExist)
			})
		}
	})
}

// TestPull_LayerBomb checks that a layer larger than the disk fails only its own task.
func TestPull_LayerBomb(t *testing.T) {
	reference := testimage.Layout(t, t.TempDir(), withFile(t, scratch(t), "zeros", 256<<20))
	small := testimage.Layout(t, t.TempDir(), scratch(t))
	withOneRuntime(t, func(t *testing.T, runtime string) {
		disk := smallDisk(t)
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.DataDir = runtime, filepath.Join(disk, "data") })
		other := n.startBystander()
		must.ErrorContains(t, n.startError(n.newTask("", "bomb", driver.TaskConfig{Image: reference}, quiet)), "no space left on device")
		other.checkUnharmed()
		n.checkStarts(driver.TaskConfig{Image: small})
	})
}

// withLayer adds a layer with the entries. Regular files contain "overwritten".
func withLayer(t *testing.T, img v1.Image, entries ...tar.Header) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		const text = "overwritten"
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		must.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, text)
			must.NoError(t, err)
		}
	}
	must.NoError(t, w.Close())
	return withTar(t, img, b.Bytes())
}

// withFile adds a file of size zero bytes, which compress well.
func withFile(t *testing.T, img v1.Image, name string, size int64) v1.Image {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	must.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}))
	_, err := io.CopyN(w, zeros{}, size)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, z.Close())
	return withTar(t, img, b.Bytes())
}

func withTar(t *testing.T, img v1.Image, layer []byte) v1.Image {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, l)
	must.NoError(t, err)
	return img
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
