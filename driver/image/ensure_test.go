package image_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// A pull works from every transport, leaves nothing in Root/tmp and uses no other temporary
// directory.
func TestEnsure_Transports(t *testing.T) {
	h, hub := hubHome(t)
	src := t.TempDir()
	at := func(name string) string { return filepath.Join(src, name) }
	hub.push(t, "team/app:1", hello(t, "registry"))
	ociLayout(t, at("layout"), map[string]v1.Image{"v1": hello(t, "oci"), "v2": hello(t, "oci v2")})
	ociLayout(t, at("single"), map[string]v1.Image{"only": hello(t, "oci single")})
	convert(t, "oci:"+at("layout")+":v1", "oci-archive:"+at("oci.tar")+":v1")
	tag, err := name.NewTag("app:v1")
	must.NoError(t, err)
	must.NoError(t, tarball.WriteToFile(at("docker.tar"), tag, hello(t, "docker archive")))

	t.Setenv("TMPDIR", "/nonexistent")
	s := h.open(t)
	digest, err := hello(t, "registry").Digest()
	must.NoError(t, err)
	for ref, want := range map[string]string{
		hub.ref("team/app@" + digest.String()):      "registry",
		hub.ref("team/app:1"):                       "registry",
		"oci:" + at("layout") + ":v1":               "oci",
		"oci:" + at("layout") + ":v2":               "oci v2",
		"oci:" + at("single"):                       "oci single",
		"oci-archive:" + at("oci.tar") + ":v1":      "oci",
		"oci-archive:" + at("oci.tar"):              "oci",
		"docker-archive:" + at("docker.tar"):        "docker archive",
		"docker-archive:" + at("docker.tar:app:v1"): "docker archive",
	} {
		img := ensure(t, s, ref, image.PullOptions{})
		must.Eq(t, want, contents(t, mount(t, s, ref, img), "etc/hello"), must.Sprint(ref))
		must.Eq(t, 64, len(img.ID))
		must.StrHasPrefix(t, "sha256:", img.Digest)
		must.Eq(t, image.ImageConfig{
			Entrypoint: []string{"/bin/app"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin", "A=b"},
			User: "7:8", WorkingDir: "/srv", StopSignal: "SIGQUIT",
			Volumes: []string{"/cache", "/data"}, Labels: map[string]string{"l": "v"},
		}, img.Config)
		must.Eq(t, img, ensure(t, s, ref, image.PullOptions{}), must.Sprint("from the store: ", ref))
	}
	left, err := os.ReadDir(h.root("tmp"))
	must.NoError(t, err)
	must.SliceEmpty(t, left)
}

func TestEnsure_PathContentChanged(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	src := t.TempDir()
	layoutDir, archive := filepath.Join(src, "layout"), filepath.Join(src, "a.tar")
	var seen []image.Image
	for _, text := range []string{"one", "two"} {
		ociLayout(t, layoutDir, map[string]v1.Image{"v": hello(t, text)})
		must.NoError(t, os.RemoveAll(archive))
		convert(t, "oci:"+layoutDir+":v", "oci-archive:"+archive+":v")
		for _, ref := range []string{"oci:" + layoutDir + ":v", "oci-archive:" + archive} {
			img := ensure(t, s, ref, image.PullOptions{})
			must.Eq(t, text, contents(t, mount(t, s, ref+text, img), "etc/hello"))
			seen = append(seen, img)
		}
	}
	must.NotEq(t, seen[0].ID, seen[2].ID)

	// The image of the old content is collected once no container uses it.
	for _, ref := range []string{"oci:" + layoutDir + ":v", "oci-archive:" + archive} {
		must.NoError(t, s.Release(testContext(t), ref+"one"))
	}
	removed, err := s.GC(testContext(t), 0)
	must.NoError(t, err)
	must.SliceContainsAll(t, removed, []string{seen[0].ID, seen[1].ID})
}

func TestEnsure_Concurrent(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", build(t, "amd64", bytesLayer(t, 1<<20), bytesLayer(t, 1<<20)))
	s := h.open(t)
	var callers sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		callers.Go(func() {
			img, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
			must.NoError(t, err)
			ids[i] = img.ID
		})
	}
	callers.Wait()
	for _, id := range ids {
		must.Eq(t, ids[0], id)
	}
	manifests, blobs := hub.fetched()
	must.Eq(t, 1, manifests)
	must.LessEq(t, 4, blobs, must.Sprint("blobs: two layers, and the config twice"))
}

func TestEnsure_Policies(t *testing.T) {
	h, hub := hubHome(t)
	s := h.open(t)
	ref := hub.ref("app:1")
	hub.push(t, "app:1", hello(t, "one"))

	_, err := s.Ensure(testContext(t), parse(t, ref), image.PullOptions{Policy: image.PullNever})
	must.ErrorIs(t, err, image.ErrNotFound)
	must.StrContains(t, err.Error(), ref)

	one := ensure(t, s, ref, image.PullOptions{})
	hub.push(t, "app:1", hello(t, "two"))
	must.Eq(t, one, ensure(t, s, ref, image.PullOptions{}))
	must.Eq(t, one, ensure(t, s, ref, image.PullOptions{Policy: image.PullNever}))
	manifests, blobs := hub.fetched()
	must.Eq(t, 0, manifests+blobs)

	two := ensure(t, s, ref, image.PullOptions{Policy: image.PullAlways})
	must.NotEq(t, one.ID, two.ID)
	must.Eq(t, two, ensure(t, s, ref, image.PullOptions{}))

	hub.fetched()
	must.Eq(t, two, ensure(t, s, ref, image.PullOptions{Policy: image.PullAlways}))
	manifests, blobs = hub.fetched()
	must.Eq(t, 1, manifests)
	must.LessEq(t, 2, blobs, must.Sprint("blobs: the config only"))

	_, err = s.Ensure(testContext(t), parse(t, ref), image.PullOptions{Policy: "sometimes"})
	must.ErrorIs(t, err, image.ErrInvalidConfig)
	must.StrContains(t, err.Error(), "sometimes")
}

func TestEnsure_Progress(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", build(t, "amd64", bytesLayer(t, 1<<20), bytesLayer(t, 2<<20)))
	s := h.open(t)
	var seen []image.Progress
	ensure(t, s, hub.ref("app:1"), image.PullOptions{Progress: func(p image.Progress) { seen = append(seen, p) }})
	must.SliceNotEmpty(t, seen)
	must.LessEq(t, 2, seen[0].LayersDone) // 0, unless the machine is slow
	last := seen[len(seen)-1]
	must.Eq(t, 2, last.LayersDone)
	must.Eq(t, 2, last.LayersTotal)
	must.Eq(t, last.BytesTotal, last.BytesDone)
	must.Greater(t, 3<<20, last.BytesTotal)
	for i := 1; i < len(seen); i++ {
		must.GreaterEq(t, seen[i-1].BytesDone, seen[i].BytesDone)
	}
}
