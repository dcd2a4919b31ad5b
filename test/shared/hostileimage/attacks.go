package hostileimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// attack changes one part of an image before the parts that refer to it are created.
type attack struct {
	layer    func(r *rand.Rand, secret string) []byte
	config   func(config []byte) []byte
	manifest func(manifest, url string) string
	image    func(i *Image, r *rand.Rand, url string)
	paths    string // the only paths where it applies; "" is all
}

// Attacks returns the sorted names of the attacks for a path.
func Attacks(path string) []string {
	all := attacks()
	maps.DeleteFunc(all, func(_ string, a attack) bool { return a.paths != "" && !slices.Contains(strings.Fields(a.paths), path) })
	return slices.Sorted(maps.Keys(all))
}

func attacks() map[string]attack {
	all := map[string]attack{"none": {}}
	for _, some := range []map[string]attack{layerAttacks(), jsonAttacks(), layoutAttacks(), archiveAttacks(), registryAttacks()} {
		maps.Copy(all, some)
	}
	return all
}

// layerBuilder builds a layer.
type layerBuilder struct {
	out bytes.Buffer
	w   *tar.Writer
}

func (l *layerBuilder) add(h tar.Header, body string) {
	if l.w == nil {
		l.w = tar.NewWriter(&l.out)
	}
	h.Mode, h.Size = 0o755, int64(len(body))
	_ = l.w.WriteHeader(&h)
	_, _ = l.w.Write([]byte(body))
}

func (l *layerBuilder) file(name, body string) {
	l.add(tar.Header{Name: name, Typeflag: tar.TypeReg}, body)
}

func (l *layerBuilder) bytes() []byte {
	_ = l.w.Close()
	return l.out.Bytes()
}

func layerAttacks() map[string]attack {
	entries := func(build func(l *layerBuilder, secret string)) attack {
		return attack{layer: func(_ *rand.Rand, secret string) []byte {
			var l layerBuilder
			build(&l, secret)
			return l.bytes()
		}}
	}
	raw := func(make func(r *rand.Rand) []byte) attack {
		return attack{layer: func(r *rand.Rand, _ string) []byte { return make(r) }}
	}
	up := strings.Repeat("../", 30)
	return map[string]attack{
		"layer: absolute name": entries(func(l *layerBuilder, s string) { l.file(s, "overwritten") }),
		"layer: dots":          entries(func(l *layerBuilder, s string) { l.file(up+s[1:], "overwritten") }),
		"layer: through link": entries(func(l *layerBuilder, s string) {
			l.add(tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(s)}, "")
			l.file("d/"+filepath.Base(s), "overwritten")
		}),
		"layer: hard link": entries(func(l *layerBuilder, s string) {
			l.add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeLink, Linkname: s}, "")
		}),
		"layer: hard link by dots": entries(func(l *layerBuilder, s string) {
			l.add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeLink, Linkname: up + s[1:]}, "")
		}),
		"layer: users by link": entries(func(l *layerBuilder, s string) {
			l.add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeSymlink, Linkname: s}, "")
		}),
		"layer: devices": entries(func(l *layerBuilder, _ string) {
			l.add(tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}, "")
			l.add(tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 254}, "")
			l.add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo}, "")
		}),
		"layer: duplicates": entries(func(l *layerBuilder, s string) {
			for range 3 {
				l.file("same", "x")
				l.add(tar.Header{Name: "same", Typeflag: tar.TypeSymlink, Linkname: s}, "")
			}
		}),
		"layer: whiteouts": entries(func(l *layerBuilder, s string) {
			l.file(up+filepath.Dir(s)[1:]+"/.wh."+filepath.Base(s), "")
			l.file(".wh..wh..opq", "")
			l.file(".wh...", "")
		}),
		"layer: deep": entries(func(l *layerBuilder, _ string) { l.file(strings.Repeat("d/", 300)+"f", "x") }),
		"layer: attributes": entries(func(l *layerBuilder, _ string) {
			l.add(tar.Header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
				"SCHILY.xattr.trusted.overlay.redirect": "/../../..", "SCHILY.xattr.security.capability": "x",
			}}, "x")
		}),
		"layer: sparse": raw(func(*rand.Rand) []byte { return sparse("f", 1<<50) }),
		"layer: cut off": raw(func(*rand.Rand) []byte {
			var l layerBuilder
			l.file("f", strings.Repeat("x", 5000))
			return l.bytes()[:2000]
		}),
		"layer: noise":    raw(func(r *rand.Rand) []byte { return noise(r, 4096) }),
		"layer: bomb":     raw(func(*rand.Rand) []byte { return zeros(256 << 20) }),
		"layer: bad gzip": raw(func(r *rand.Rand) []byte { return append([]byte{0x1f, 0x8b, 8, 0}, noise(r, 4096)...) }),
		"layer: bad zstd": raw(func(r *rand.Rand) []byte {
			return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8}, noise(r, 4096)...)
		}),
		"layer: long name": entries(func(l *layerBuilder, _ string) { l.file(strings.Repeat("n", 100000), "x") }),
	}
}

// sparse returns a tar of one file that declares a size but contains no data.
func sparse(name string, size int64) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	// The writer refuses these records; the length of the key is the same.
	_ = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"GNU@sparse.major": "0", "GNU@sparse.minor": "1", "GNU@sparse.size": fmt.Sprint(size), "GNU@sparse.numblocks": "1", "GNU@sparse.map": fmt.Sprintf("%d,0", size),
	}})
	_ = w.Close()
	return bytes.ReplaceAll(out.Bytes(), []byte("GNU@sparse"), []byte("GNU.sparse"))
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func jsonAttacks() map[string]attack {
	replace := func(old, with string) attack {
		return attack{manifest: func(m, url string) string {
			return strings.Replace(m, old, strings.ReplaceAll(with, "ADDRESS", url), 1)
		}, paths: "oci oci-archive registry"}
	}
	config := func(f func([]byte) []byte) attack { return attack{config: f} }
	deep := strings.Repeat("[", 200000)
	layer := `"layers":[`
	return map[string]attack{
		"manifest: urls":           replace(`"layers":[{`, `"layers":[{"urls":["ADDRESS"],`),
		"manifest: urls in config": replace(`"config":{`, `"config":{"urls":["ADDRESS"],`),
		"manifest: urls in case":   replace(`"layers":[{`, `"layers":[{"URLS":["ADDRESS"],`),
		"manifest: urls twice":     replace(`"layers":[`, `"layers":[{"urls":["ADDRESS"]}],"layers":[`),
		"manifest: deep":           replace(`{"schema`, `{"x":`+deep+`,"schema`),
		"manifest: many layers":    replace(layer, layer+strings.Repeat(`{"mediaType":"`+ociLayer+`","size":1,"digest":"`+sha([]byte("x"))+`"},`, 20000)),
		"manifest: annotations":    replace(`{"schema`, `{"annotations":{"a":"`+strings.Repeat("a", 3<<20)+`"},"schema`),
		"manifest: too large":      replace(`{"schema`, `{"annotations":{"a":"`+strings.Repeat("a", 5<<20)+`"},"schema`),
		"manifest: negative size":  replace(`"size":`, `"size":-`),
		"manifest: huge size":      replace(`"layers":[{`, `"layers":[{"size":9223372036854775807,`),
		"manifest: digest as path": replace(`"digest":"sha256:`, `"digest":"sha256:../../../../etc/`),
		"manifest: digest md5":     replace(`"digest":"sha256:`, `"digest":"md5:`),
		"manifest: no digest":      replace(`"digest":"sha256:`, `"digest":"`),
		"manifest: null":           replace(`{"schema`, `null{"schema`),
		"manifest: schema 1": {image: func(i *Image, _ *rand.Rand, url string) {
			i.manifestType = "application/vnd.docker.distribution.manifest.v1+json"
			i.manifest = fmt.Appendf(nil, `{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[{"blobSum":%q}],"history":[{"v1Compatibility":"{\"id\":\"x\"}"}]}`, sha(i.layer))
			i.blobs[sha(i.manifest)] = i.manifest
			i.index = indexOf(i.manifestType, i.manifest)
		}, paths: "oci oci-archive registry"},
		"manifest: nested indexes": {image: func(i *Image, _ *rand.Rand, _ string) {
			for range 50 {
				i.manifestType, i.manifest = ociIndex, i.index
				i.blobs[sha(i.index)] = i.index
				i.index = indexOf(ociIndex, i.index)
			}
		}, paths: "oci oci-archive registry"},
		"blob: other content": {image: func(i *Image, _ *rand.Rand, _ string) { i.blobs[sha(i.layer)] = []byte("other") }, paths: "oci oci-archive registry"},
		"blob: other config":  {image: func(i *Image, _ *rand.Rand, _ string) { i.blobs[sha(i.config)] = []byte("{}") }, paths: "oci oci-archive registry"},
		"config: huge":        config(func(c []byte) []byte { return append(c, bytes.Repeat([]byte(" "), 6<<20)...) }),
		"config: deep":        config(func([]byte) []byte { return []byte(deep) }),
		"config: null":        config(func([]byte) []byte { return []byte("null") }),
		"config: types":       config(func([]byte) []byte { return []byte(`{"os":7,"rootfs":"x","config":[]}`) }),
		"config: no diff ids": config(func([]byte) []byte { return []byte(`{"os":"linux","architecture":"amd64"}`) }),
		"config: text":        config(func([]byte) []byte { return []byte("\x1b[31m\x00\xff not JSON") }),
	}
}

func layoutAttacks() map[string]attack {
	at := func(file string, f func(path, secret string) error) attack {
		return attack{image: func(i *Image, _ *rand.Rand, _ string) {
			i.spoilDir = func(dir string) error {
				path := filepath.Join(dir, file)
				if file == "blob" {
					path = filepath.Join(dir, "blobs", strings.Replace(sha(i.layer), ":", "/", 1))
				}
				if err := os.RemoveAll(path); err != nil {
					return err
				}
				return f(path, i.secret)
			}
		}, paths: "oci"}
	}
	all := map[string]attack{}
	for _, file := range []string{"index.json", "blob", "blobs", "."} {
		all["layout: link as "+file] = at(file, func(path, secret string) error { return os.Symlink(secret, path) })
		all["layout: zeros as "+file] = at(file, func(path, _ string) error { return os.Symlink("/dev/zero", path) })
		all["layout: fifo as "+file] = at(file, func(path, _ string) error { return syscall.Mkfifo(path, 0o644) })
		all["layout: device as "+file] = at(file, func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o644, 1<<8|5) })
		all["layout: endless "+file] = at(file, func(path, _ string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<43)
		})
	}
	return all
}

func archiveAttacks() map[string]attack {
	const archives = "oci-archive docker-archive"
	entry := func(h tar.Header) attack {
		return attack{image: func(i *Image, _ *rand.Rand, _ string) {
			i.spoilTar = func(w *tar.Writer) error {
				if h.Linkname == "SECRET" {
					h.Linkname = i.secret
				}
				return w.WriteHeader(&h)
			}
		}, paths: archives}
	}
	all := map[string]attack{
		"archive: absolute name": entry(tar.Header{Name: "/index.json", Typeflag: tar.TypeReg}),
		"archive: dots":          entry(tar.Header{Name: "../../index.json", Typeflag: tar.TypeReg}),
		"archive: device":        entry(tar.Header{Name: "index.json", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}),
		"archive: fifo":          entry(tar.Header{Name: "manifest.json", Typeflag: tar.TypeFifo}),
		"archive: itself":        entry(tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"}),
		"archive: many entries": {image: func(i *Image, _ *rand.Rand, _ string) {
			i.spoilTar = func(w *tar.Writer) error {
				for n := range 12000 {
					if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("f", n), Typeflag: tar.TypeReg}); err != nil {
						return err
					}
				}
				return nil
			}
		}, paths: archives},
	}
	for _, name := range []string{"index.json", "manifest.json", "l.tar", "c.json", "blobs"} {
		all["archive: link as "+name] = entry(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: "SECRET"})
		all["archive: hard link as "+name] = entry(tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: "SECRET"})
	}
	finish := func(f func(r *rand.Rand, body []byte) []byte) attack {
		return attack{image: func(i *Image, r *rand.Rand, _ string) {
			i.finish = func(body []byte) []byte { return f(r, body) }
		}, paths: archives}
	}
	all["archive: gzipped"] = finish(func(_ *rand.Rand, b []byte) []byte { return gzipped(b) })
	all["archive: bomb"] = finish(func(*rand.Rand, []byte) []byte { return zeros(1500 << 20) })
	all["archive: sparse"] = finish(func(*rand.Rand, []byte) []byte { return sparse("index.json", 1<<60) })
	all["archive: cut off"] = finish(func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] })
	all["archive: noise"] = finish(func(r *rand.Rand, b []byte) []byte { return noise(r, r.IntN(9000)) })
	all["archive: bits"] = finish(func(r *rand.Rand, b []byte) []byte {
		for range 20 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	})
	return all
}

func registryAttacks() map[string]attack {
	answer := func(part string, f func(w http.ResponseWriter, r *http.Request, url string)) attack {
		return attack{image: func(i *Image, _ *rand.Rand, url string) {
			i.serve = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, part) {
					return false
				}
				f(w, r, url)
				return true
			}
		}, paths: "registry"}
	}
	endless := func(w http.ResponseWriter, r *http.Request, _ string) {
		chunk := make([]byte, 64<<10)
		for end := time.Now().Add(10 * time.Second); r.Context().Err() == nil && time.Now().Before(end); {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	all := map[string]attack{}
	for _, part := range []string{"/v2/", "/manifests/", "/blobs/"} {
		all["registry: endless "+part] = answer(part, endless)
		all["registry: silent "+part] = answer(part, func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() })
		all["registry: error "+part] = answer(part, func(w http.ResponseWriter, _ *http.Request, _ string) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"\u001b[31m`+strings.Repeat("m", 1<<20)+`"}]}`, http.StatusForbidden)
		})
		all["registry: redirect "+part] = answer(part, func(w http.ResponseWriter, r *http.Request, url string) { http.Redirect(w, r, url, http.StatusFound) })
		all["registry: loop "+part] = answer(part, func(w http.ResponseWriter, r *http.Request, _ string) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		})
		all["registry: realm "+part] = answer(part, func(w http.ResponseWriter, _ *http.Request, url string) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+url+`",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
	}
	return all
}
