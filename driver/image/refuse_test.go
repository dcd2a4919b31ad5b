package image_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

func TestEnsure_Invalid(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	src := t.TempDir()
	at := func(name string) string { return filepath.Join(src, name) }
	ociLayout(t, at("layout"), map[string]v1.Image{"a": hello(t, "a"), "b": hello(t, "b")})
	must.NoError(t, os.Mkdir(at("empty"), 0o700))
	must.NoError(t, os.Mkdir(at("pipe"), 0o700))
	must.NoError(t, syscall.Mkfifo(at("pipe/index.json"), 0o600))
	must.NoError(t, os.WriteFile(at("text"), []byte("not an archive"), 0o600))
	s := h.open(t)
	for _, c := range []struct {
		ref  string
		is   error
		says string
	}{
		{hub.ref("app:2"), image.ErrNotFound, "check its name and tag"},
		{hub.ref("nobody:1"), image.ErrNotFound, "registry " + hub.host},
		{"oci:" + at("absent"), image.ErrNotFound, "put the image there"},
		{"oci:" + at("text"), image.ErrNotFound, "directory with a file index.json"},
		{"oci:" + at("empty"), image.ErrNotFound, "directory with a file index.json"},
		{"oci:" + at("layout") + ":c", image.ErrNotFound, "check the tag"},
		{"oci:" + at("layout"), image.ErrInvalidReference, ":TAG"},
		{"oci-archive:" + at("absent"), image.ErrNotFound, "put the image there"},
		{"oci-archive:" + at("text"), image.ErrInvalidImage, "complete"},
		{"oci-archive:" + at("layout"), image.ErrInvalidImage, "not a regular file"},
		{"docker-archive:" + at("text"), image.ErrInvalidImage, "complete"},
		{"oci:" + at("pipe"), image.ErrInvalidImage, "not a regular file"},
	} {
		_, err := s.Ensure(testContext(t), parse(t, c.ref), image.PullOptions{})
		must.ErrorIs(t, err, c.is, must.Sprint(c.ref))
		must.StrContains(t, err.Error(), c.ref)
		must.StrContains(t, err.Error(), c.says)
		t.Log(err)
	}
	plain := newHub(t) // not in s's registries.conf
	_, err := s.Ensure(testContext(t), parse(t, plain.ref("app:1")), image.PullOptions{})
	must.StrContains(t, err.Error(), "insecure = true")
	_, err = s.Ensure(testContext(t), parse(t, "127.0.0.1:1/app"), image.PullOptions{})
	must.StrContains(t, err.Error(), "check the registry's name")
	_, err = s.Ensure(testContext(t), image.Reference{}, image.PullOptions{})
	must.ErrorIs(t, err, image.ErrInvalidReference)
	must.ErrorIs(t, image.PullOptions{Password: "p"}.Check(parse(t, "a")), image.ErrInvalidConfig)
	must.NoError(t, image.PullOptions{Username: "u", Password: "p"}.Check(parse(t, "a")))
	must.SliceEmpty(t, h.layerDirs(t))
}

func TestEnsure_Platform(t *testing.T) {
	h, hub := hubHome(t)
	arm, amd := build(t, "arm64", bytesLayer(t, 99)), build(t, "amd64", bytesLayer(t, 98))
	hub.push(t, "arm:1", arm)
	platform := func(arch string, img v1.Image) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: arch},
		}}
	}
	hub.pushIndex(t, "both:1", mutate.AppendManifests(empty.Index, platform("arm64", arm), platform("amd64", amd)))
	hub.pushIndex(t, "foreign:1", mutate.AppendManifests(empty.Index, platform("arm64", arm), platform("s390x", amd)))
	s := h.open(t)
	for _, c := range []struct{ repo, platform, have string }{
		{"arm:1", "", "linux/arm64"},
		{"foreign:1", "", "linux/arm64, linux/s390x"},
		{"arm:1", "linux/ppc64le", "linux/arm64"},
	} {
		_, err := s.Ensure(testContext(t), parse(t, hub.ref(c.repo)), image.PullOptions{Platform: c.platform})
		must.ErrorIs(t, err, image.ErrPlatform)
		must.StrContains(t, err.Error(), hub.ref(c.repo))
		must.StrContains(t, err.Error(), "built for "+c.have)
		t.Log(err)
	}
	must.SliceEmpty(t, h.layerDirs(t), must.Sprint("layers after a refused pull"))

	native := ensure(t, s, hub.ref("both:1"), image.PullOptions{})
	foreign := ensure(t, s, hub.ref("both:1"), image.PullOptions{Platform: "linux/arm64"})
	must.NotEq(t, native.ID, foreign.ID)
	must.Eq(t, native, ensure(t, s, hub.ref("both:1"), image.PullOptions{}))
	_, err := s.Ensure(testContext(t), parse(t, "a"), image.PullOptions{Platform: "arm64"})
	must.ErrorIs(t, err, image.ErrInvalidConfig)
}

func TestEnsure_SignaturePolicy(t *testing.T) {
	h, hub := hubHome(t)
	hub.push(t, "app:1", hello(t, "x"))
	h.conf.SignaturePolicyFile = filepath.Join(t.TempDir(), "policy.json")
	must.NoError(t, os.WriteFile(h.conf.SignaturePolicyFile, []byte(`{"default":[{"type":"reject"}]}`), 0o600))
	s := h.open(t)
	_, err := s.Ensure(testContext(t), parse(t, hub.ref("app:1")), image.PullOptions{})
	must.ErrorIs(t, err, image.ErrRejected)
	must.StrContains(t, err.Error(), hub.ref("app:1"))
}

func TestOpen_Invalid(t *testing.T) {
	good := newHome(t).conf
	bad := filepath.Join(t.TempDir(), "bad")
	must.NoError(t, os.WriteFile(bad, []byte("[["), 0o600))
	for says, change := range map[string]func(*image.Config){
		"Root":            func(c *image.Config) { c.Root = "relative" },
		"RunRoot":         func(c *image.Config) { c.RunRoot = "" },
		"auth file":       func(c *image.Config) { c.AuthFile = "/nonexistent" },
		"policy":          func(c *image.Config) { c.SignaturePolicyFile = bad },
		"registries.conf": func(c *image.Config) { c.RegistriesConf = bad },
		"negative":        func(c *image.Config) { c.PullTimeout = -1 },
	} {
		c := good
		change(&c)
		_, err := image.Open(c)
		must.ErrorIs(t, err, image.ErrInvalidConfig, must.Sprint(says))
		must.StrContains(t, err.Error(), says)
	}
	_, err := os.Stat(good.Root)
	must.True(t, errors.Is(err, os.ErrNotExist), must.Sprint("directory of the store"))
}
