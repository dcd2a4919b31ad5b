package catalog

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// served answers every request with these bytes; the result is its URL.
func served(t *testing.T, body []byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	t.Cleanup(server.Close)
	return server.URL
}

func zipped(t *testing.T, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.Create(name)
	must.NoError(t, err)
	_, err = io.WriteString(f, text)
	must.NoError(t, err)
	must.NoError(t, w.Close())
	return out.Bytes()
}

func TestArchives(t *testing.T) {
	x := definition("x", "1.0.0", 10)
	packed := tarball(t, file("c-1.0/sidecars/x/x.sidecar.hcl", x), file("c-1.0/other/y.sidecar.hcl", definition("y", "1.0.0", 1)), file("c-1.0/README.md", "x"))
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256(packed))
	url := served(t, packed)
	for rest, want := range map[string]int{
		"/c.tar.gz": 2, "/c.tgz//c-1.0": 2, "/c.tar.gz//c-1.0/sidecars?checksum=" + sum: 1, "/get?archive=tgz": 2,
	} {
		t.Run(rest, func(t *testing.T) {
			g := newGetter(t)
			result := got(t, g, url+rest, nil, false)
			must.Eq(t, sum, result.Entry.Origin)
			sidecars, diags := opened(t, g.Cache, result.Entry)
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			must.MapLen(t, want, sidecars)
			must.MapContainsKeys(t, sidecars, []string{"x 1.0.0"})
		})
	}
	t.Run("zip", func(t *testing.T) {
		result := got(t, newGetter(t), served(t, zipped(t, "a/x.sidecar.hcl", x))+"/c.zip//a", nil, false)
		must.MapContainsKeys(t, result.Entry.Sidecars, []string{"x 1.0.0"})
	})
	t.Run("checksum", func(t *testing.T) {
		text := fails(t, newGetter(t), url+"/c.tgz?checksum=sha256:"+strings.Repeat("0", 64), nil, false)
		must.StrContains(t, text, "the checksum of the archive is "+sum[len("sha256:"):]+", but the address requires 0000")
	})
}

// TestHostileArchives: nothing that an archive says has an effect outside of the
// copy, and what is too much is refused before it is read.
func TestHostileArchives(t *testing.T) {
	x := definition("x", "1.0.0", 10)
	many := make([]tar.Header, maxEntries+1)
	for i := range many {
		many[i] = file(fmt.Sprintf("%d", i), "")
	}
	cases := []struct {
		name string
		body []byte
		want string
	}{
		{"c.tgz", tarball(t, file("../x.sidecar.hcl", x)), `"../x.sidecar.hcl", which is outside the catalog`},
		{"c.tgz", tarball(t, file("a/../../x.sidecar.hcl", x)), "which is outside the catalog"},
		{"c.tgz", tarball(t, file("/etc/x.sidecar.hcl", x)), "which is outside the catalog"},
		{"c.tgz", tarball(t, file(`..\x.sidecar.hcl`, x)), "which is outside the catalog"},
		{"c.tgz", tarball(t, file("../README.md", "x"), file("x.sidecar.hcl", x)), "which is outside the catalog"},
		{"c.tgz", tarball(t, tar.Header{Name: "x.sidecar.hcl", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "a catalog must not contain links"},
		{"c.tgz", tarball(t, file("y", x), tar.Header{Name: "x.sidecar.hcl", Typeflag: tar.TypeLink, Linkname: "y"}), "a catalog must not contain links"},
		// A folder that is a link is none: what seems to be below it stays below.
		{"c.tgz//a", tarball(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, file("b/x.sidecar.hcl", x)), "no file ending in .sidecar.hcl below the folder a"},
		{"c.tgz", tarball(t, file("big", strings.Repeat("x", maxUnpackedBytes+1))), "too large for a catalog"},
		{"c.tgz", tarball(t, file("x.sidecar.hcl", strings.Repeat("#", maxDefinitionBytes+1))), "has more than 1048576 bytes"},
		{"c.tgz", tarball(t, many...), "more than 20000 files"},
		{"c.tgz", bytes.Repeat([]byte{0}, maxDownloadBytes+1), "too large for a catalog"},
		{"c.zip", zipped(t, "../x.sidecar.hcl", x), "which is outside the catalog"},
		{"c.zip", zipped(t, "x.sidecar.hcl", strings.Repeat("#", maxDefinitionBytes+1)), "has more than 1048576 bytes"},
		{"c.zip", []byte("no archive"), "read the archive: zip: not a valid zip file"},
		{"c.tgz", []byte("no archive"), "read the archive: gzip: invalid header"},
		{"c.tgz", tarball(t, file("x.sidecar.hcl", x))[:60], "unexpected EOF"},
		{"c.tgz", tarball(t, file("x.sidecar.hcl", "sidecar {}")), "Missing name for sidecar"},
		{"c.tgz", tarball(t, file("a/x.sidecar.hcl", x), file("b/x.sidecar.hcl", x)), "Duplicate sidecar"},
	}
	for i, c := range cases {
		t.Run(fmt.Sprintf("%d %s", i, c.want), func(t *testing.T) {
			text := fails(t, newGetter(t), served(t, c.body)+"/"+c.name, nil, false)
			must.StrContains(t, text, c.want)
		})
	}
}

// An archive that was replaced is not what was locked.
func TestArchiveReplaced(t *testing.T) {
	g := newGetter(t)
	body := tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer server.Close()
	address := server.URL + "/c.tgz"
	locked := got(t, g, address, nil, false).Entry

	// Packed anew, the same definitions are fine, and the lock stays as it is.
	body = tarball(t, file("README.md", "new"), file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	empty := &Getter{Cache: Cache{Dir: t.TempDir()}}
	must.Eq(t, locked, got(t, empty, address, locked, false).Entry)

	body = tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 11)))
	empty = &Getter{Cache: Cache{Dir: t.TempDir()}}
	must.StrContains(t, fails(t, empty, address, locked, false), "x 1.0.0 ("+short(locked.Sidecars["x 1.0.0"])+") is now 1.0.0 (sha256:")

	body = tarball(t, file("x.sidecar.hcl", "# A comment.\n"+definition("x", "1.0.0", 10)))
	must.StrContains(t, fails(t, empty, address, locked, false), "every definition has the same meaning")
}

func TestArchiveErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away.tgz":
			http.Redirect(w, r, "http://example.com/c.tgz?token=s3cret", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	g := newGetter(t)
	secret := strings.Replace(server.URL, "//", "//user:s3cret@", 1)
	for address, want := range map[string]string{
		secret + "/none.tgz?token=s3cret":                    "bad response code: 404",
		secret + "/away.tgz":                                 "http to another machine, example.com, is not encrypted",
		"https://user:s3cret@127.0.0.1:1/c.tgz?token=s3cret": "connection refused",
	} {
		text := fails(t, g, address, nil, false)
		must.StrContains(t, text, want)
		must.StrNotContains(t, text, "s3cret")
	}
}

// What go-getter brings: a file of checksums, and netrc.
func TestArchiveByGoGetter(t *testing.T) {
	packed := tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "s3cret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/sums":
			fmt.Fprintf(w, "%x  c.tgz\n", sha256.Sum256(packed))
		case "/others":
			fmt.Fprintf(w, "%x  c.tgz\n", sha256.Sum256(nil))
		default:
			_, _ = w.Write(packed)
		}
	}))
	defer server.Close()
	netrc := filepath.Join(t.TempDir(), "netrc")
	t.Setenv("NETRC", netrc)
	g := newGetter(t)
	must.StrContains(t, fails(t, g, server.URL+"/c.tgz", nil, false), "bad response code: 401")
	host := strings.TrimPrefix(server.URL, "http://")
	must.NoError(t, os.WriteFile(netrc, []byte("machine "+host+" login user password s3cret\n"), 0o600))
	got(t, g, server.URL+"/c.tgz?checksum=file:"+server.URL+"/sums", nil, false)
	must.StrContains(t, fails(t, g, server.URL+"/c.tgz?checksum=file:"+server.URL+"/others", nil, false), "but the address requires e3b0c442")
}

func TestTimeout(t *testing.T) {
	g := newGetter(t)
	g.Timeout = time.Nanosecond
	for _, address := range []string{"https://127.0.0.1:1/c.tgz", "git::file:///nowhere", "oci://127.0.0.1:1/a:v1"} {
		must.StrHasSuffix(t, ": it took longer than 1ns.", fails(t, g, address, nil, false))
	}
}

func TestProgress(t *testing.T) {
	g := newGetter(t)
	body := tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))
	var last, of int64
	g.Progress = func(read, total int64) {
		must.Greater(t, last, read)
		last, of = read, total
	}
	got(t, g, served(t, body)+"/c.tgz", nil, false)
	must.Eq(t, int64(len(body)), last)
	must.Eq(t, int64(len(body)), of)
}
