package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// canary represents host data that a job must not read.
const canary = "canary-7c1f"

// replacements returns functions that replace a file of an image by a non-regular file.
func replacements(secret string) map[string]func(path string) error {
	return map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(secret, path) },
		"link to zeros": func(path string) error { return os.Symlink("/dev/zero", path) },
		"magic link":    func(path string) error { return os.Symlink("/proc/self/environ", path) },
		"fifo":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"device":        func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
	}
}

// TestEnsure_PathNotRegular checks that a path that a task can write to is read below its
// directory, without following symlinks and without blocking, and that errors contain no data
// that was read.
func TestEnsure_PathNotRegular(t *testing.T) {
	h := newHome(t)
	s := h.open(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	must.NoError(t, os.WriteFile(secret, []byte(canary), 0o600))
	task := filepath.Join(dir, "task")
	for kind, spoil := range replacements(secret) {
		for _, file := range []string{"index.json", "blob", "blobs/sha256", "."} {
			at := filepath.Join(task, "img")
			must.NoError(t, os.RemoveAll(task))
			must.NoError(t, os.MkdirAll(at, 0o700))
			ociLayout(t, at, map[string]v1.Image{"v": hello(t, "x")})
			target := filepath.Join(at, file)
			if file == "blob" {
				blobs, err := filepath.Glob(filepath.Join(at, "blobs/sha256/*"))
				must.NoError(t, err)
				target = blobs[len(blobs)-1]
			}
			must.NoError(t, os.RemoveAll(target))
			must.NoError(t, spoil(target))
			ref, err := image.ParseReference("oci:img:v")
			must.NoError(t, err)
			ref, err = image.AllowedPaths{TaskDir: task}.Locate(ref)
			must.NoError(t, err)
			refused(t, s, ref, kind+" as "+file)
		}
		archive := filepath.Join(task, "a.tar")
		must.NoError(t, spoil(archive))
		for _, transport := range []string{"oci-archive:", "docker-archive:"} {
			refused(t, s, parse(t, transport+archive), kind+" as "+transport)
		}
	}
	_, err := s.GC(testContext(t), 0)
	must.NoError(t, err)
	must.SliceEmpty(t, h.layerDirs(t))
}

func refused(t *testing.T, s *image.Store, ref image.Reference, what string) {
	t.Helper()
	began := time.Now()
	_, err := s.Ensure(testContext(t), ref, image.PullOptions{})
	must.Error(t, err, must.Sprint(what))
	must.StrNotContains(t, err.Error(), canary, must.Sprint(what))
	must.StrContains(t, err.Error(), strings.TrimPrefix(ref.String(), "oci:"), must.Sprint(what))
	must.Less(t, 10*time.Second, time.Since(began), must.Sprint(what))
}
