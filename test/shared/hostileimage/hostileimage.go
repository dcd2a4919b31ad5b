// Package hostileimage creates container images that attack their readers with links, devices, endless
// and sparse files, wrong digests, other addresses, or damaged JSON. A seed selects the details.
//
// It neither reads images nor asserts anything.
package hostileimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Paths lists the ways an image can reach the driver.
func Paths() []string { return []string{"oci", "oci-archive", "docker-archive", "registry"} }

// Image is one attack, written by Write or served by Serve.
type Image struct {
	Attack string // one of Attacks

	secret string // path of a host file
	blobs  map[string][]byte
	index  []byte
	docker []byte // manifest.json

	manifest, config, layer []byte
	manifestType            string

	spoilDir func(dir string) error
	spoilTar func(w *tar.Writer) error
	finish   func(archive []byte) []byte
	serve    func(w http.ResponseWriter, r *http.Request) bool
}

// New creates an image with one of Attacks. secret is a file that the image must not
// reach, and url an address that no client may request.
func New(attack string, r *rand.Rand, secret, url string) *Image {
	i := &Image{Attack: attack, secret: secret, blobs: map[string][]byte{}}
	var l layerBuilder
	l.file("etc/hello", "hello")
	i.layer, i.manifestType = l.bytes(), ociManifest
	i.config = configOf(i.layer)
	change := attacks()[attack]
	if change.layer != nil {
		i.layer = change.layer(r, secret)
		i.config = configOf(i.layer)
	}
	if change.config != nil {
		i.config = change.config(i.config)
	}
	i.seal(nil)
	if change.manifest != nil {
		i.seal(func(m string) string { return change.manifest(m, url) })
	}
	if change.image != nil {
		change.image(i, r, url)
	}
	return i
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar"
)

func configOf(layer []byte) []byte {
	return fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","config":{"Cmd":["/x"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`, sha(layer))
}

func sha(b []byte) string { return digest.FromBytes(b).String() }

// seal creates the manifest and the files that refer to it.
func (i *Image) seal(change func(manifest string) string) {
	m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":%d,"digest":%q},"layers":[{"mediaType":%q,"size":%d,"digest":%q}]}`,
		ociManifest, ociConfig, len(i.config), sha(i.config), ociLayer, len(i.layer), sha(i.layer))
	if change != nil {
		m = change(m)
	}
	i.manifest = []byte(m)
	i.blobs = map[string][]byte{sha(i.config): i.config, sha(i.layer): i.layer, sha(i.manifest): i.manifest}
	i.index = indexOf(i.manifestType, i.manifest)
	i.docker, _ = json.Marshal([]map[string]any{{"Config": "c.json", "RepoTags": []string{"app:v1"}, "Layers": []string{"l.tar"}}})
}

func indexOf(mime string, blob []byte) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, ociIndex, mime, len(blob), sha(blob))
}

// Write puts the image into dir, for a path that is not "registry", and returns
// the reference to it.
func (i *Image) Write(path, dir string) (string, error) {
	at := filepath.Join(dir, "img")
	switch path {
	case "oci":
		return "oci:" + at, i.writeLayout(at)
	case "oci-archive":
		files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": i.index}
		for name, blob := range i.blobs {
			files["blobs/"+strings.Replace(name, ":", "/", 1)] = blob
		}
		return "oci-archive:" + at, i.writeTar(at, files)
	default:
		return "docker-archive:" + at, i.writeTar(at, map[string][]byte{"manifest.json": i.docker, "c.json": i.config, "l.tar": i.layer})
	}
}

func (i *Image) writeLayout(at string) error {
	if err := os.MkdirAll(filepath.Join(at, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	files := map[string][]byte{"index.json": i.index}
	for name, blob := range i.blobs {
		files["blobs/sha256/"+name[strings.Index(name, ":")+1:]] = blob
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(at, name), body, 0o644); err != nil {
			return err
		}
	}
	if i.spoilDir != nil {
		return i.spoilDir(at)
	}
	return nil
}

func (i *Image) writeTar(at string, files map[string][]byte) error {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	if i.spoilTar != nil {
		if err := i.spoilTar(w); err != nil {
			return err
		}
	}
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := w.Write(body); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	body := buffer.Bytes()
	if i.finish != nil {
		body = i.finish(body)
	}
	return os.WriteFile(at, body, 0o644)
}

// ServeHTTP is a registry that has only this image, under every name.
func (i *Image) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.serve != nil && i.serve(w, r) {
		return
	}
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch blob, ok := i.blobs[name]; {
	case strings.HasSuffix(r.URL.Path, "/v2/"):
		w.WriteHeader(http.StatusOK)
	case strings.Contains(r.URL.Path, "/manifests/") && !ok:
		w.Header().Set("Content-Type", i.manifestType)
		_, _ = w.Write(i.manifest)
	case ok:
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", i.manifestType)
		}
		_, _ = w.Write(blob)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func gzipped(body []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(body)
	_ = w.Close()
	return out.Bytes()
}

// zeros returns n gzipped zero bytes.
func zeros(n int64) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = io.CopyN(w, zeroReader{}, n)
	_ = w.Close()
	return out.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
