package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
)

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{
		"nginx", "docker://quay.io/a/b:c", "oci:/a:v1", "oci-archive:a.tar", "docker-archive:/a:app:v1", "docker-archive:/a:@1",
		"dir:/a", "oci:../../x", "nginx@sha256:" + strings.Repeat("a", 64), "oci:\x00", "http://x",
	} {
		f.Add(seed)
	}
	places := AllowedPaths{TaskDir: "/a/x/task", SharedDir: "/a/x/alloc", Paths: []string{"/srv/images"}}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseReference(text)
		if err != nil {
			if !errors.Is(err, ErrInvalidReference) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q reads back as %q: %v", ref, again, err)
		}
		located, err := places.Locate(ref)
		if err != nil || located.path == "" {
			return
		}
		for _, anchor := range []string{"/a/x/task", "/a/x/alloc", "/srv/images"} {
			if located.path == anchor || strings.HasPrefix(located.path, anchor+"/") {
				return
			}
		}
		t.Fatalf("%q is outside of the allowed paths", located.path)
	})
}

// readAll reads an image at a path as a pull does.
func readAll(t *testing.T, ref pathReference) {
	ctx := context.Background()
	source, err := openPathSource(ctx, ref)
	if err == nil {
		defer source.Close()
		_, _, err = source.GetManifest(ctx, nil)
	}
	if err == nil {
		blob, _, berr := source.GetBlob(ctx, types.BlobInfo{Digest: digest.FromString("x"), Size: -1}, none.NoCache)
		if err = berr; err == nil {
			err = blob.Close()
		}
	}
	if err != nil && len(explain(ref.Reference, err).Error()) > 4096 {
		t.Fatalf("long error: %v", err)
	}
}

func FuzzImageArchive(f *testing.F) {
	archive := func(files map[string]string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for name, body := range files {
			_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Typeflag: tar.TypeReg})
			_, _ = w.Write([]byte(body))
		}
		_ = w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../index.json"})
		_ = w.Close()
		return out.Bytes()
	}
	f.Add(archive(map[string]string{"index.json": `{"manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `"}]}`}))
	f.Add(archive(map[string]string{"manifest.json": `[{"Config":"c","Layers":["l"]}]`, "c": "{}", "l": "x"}))
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.tar")
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, transport := range []string{transportOCIArchive, transportDockerArchive} {
			readAll(t, pathReference{Reference{transport: transport, path: path, anchor: dir}, dir})
		}
	})
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","annotations":{"org.opencontainers.image.ref.name":"v"}}]}`))
	f.Add([]byte(`{"manifests":[{"digest":"../../etc/shadow"}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, index []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{"", "v"} {
			readAll(t, pathReference{Reference{transport: transportOCI, path: dir, anchor: dir, tag: tag}, dir})
		}
	})
}
