package catalog

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	cases := []struct {
		text, name string
		kind       Kind
		folder     string
	}{
		{"git::https://host/repo.git//a/b?ref=v1.2", "git::https://host/repo.git//a/b?ref=v1.2", Git, "a/b"},
		{"git::https://host/repo.git//a/./b/", "git::https://host/repo.git//a/b", Git, "a/b"},
		{"git::git@host:org/repo.git//a?ref=v1", "git::ssh://git@host/org/repo.git//a?ref=v1", Git, "a"},
		{"ssh://git:secret@host/repo.git", "ssh://git@host/repo.git", Git, ""},
		{"git::https://token@host/repo.git?depth=1", "git::https://host/repo.git?depth=1", Git, ""},
		{"git::file:///srv/repo//a?ref=main", "git::file:///srv/repo//a?ref=main", Git, "a"},
		{"git::http://127.0.0.1:3000/repo.git", "git::http://127.0.0.1:3000/repo.git", Git, ""},
		{"https://user:secret@host/c.tar.gz//a?checksum=sha256:12", "https://host/c.tar.gz//a?checksum=sha256:12", Archive, "a"},
		{"https://host/get?archive=zip&token=secret", "https://host/get?archive=zip&token=xxxxx", Archive, ""},
		{"oci://host:5000/a/b:v1//c", "oci://host:5000/a/b:v1//c", OCI, "c"},
		{"oci://host/a@" + sum, "oci://host/a@" + sum, OCI, ""},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			must.True(t, IsAddress(c.text))
			a, err := Parse(c.text)
			must.NoError(t, err)
			must.Eq(t, c.name, a.String())
			must.Eq(t, c.kind, a.Kind)
			must.Eq(t, c.folder, a.folder)
			// What the lock file names is an address, and the same one.
			again, err := Parse(a.String())
			must.NoError(t, err)
			must.Eq(t, a.String(), again.String())
		})
	}
	for _, path := range []string{"catalog", "./catalog", "/srv/catalog", "../a:b", `C:\catalog`} {
		must.False(t, IsAddress(path), must.Sprint(path))
	}
}

// A host needs no dot and no port.
func TestParse_Registry(t *testing.T) {
	for text, want := range map[string]string{
		"oci://registry/team/a:v1":    "registry/team/a v1",
		"oci://[::1]:5000/a:v1":       "[::1]:5000/a v1",
		"oci://docker.io/team/a:v1":   "index.docker.io/team/a v1",
		"oci://host:5000/a:v1@" + sum: "host:5000/a " + sum,
	} {
		a, err := Parse(text)
		must.NoError(t, err)
		must.Eq(t, want, a.image.Name()+" "+a.version)
	}
	a, err := Parse("oci://127.0.0.2:5000/a:v1")
	must.NoError(t, err)
	must.Eq(t, "http", a.image.Scheme())
}

var sum = "sha256:" + strings.Repeat("a", 64)

func TestParseRefuses(t *testing.T) {
	cases := map[string]string{
		"git::https://host/repo//../a":                           "inside the catalog",
		"git::https://host/repo//a/*":                            "wildcards",
		"git::https://host/repo?ref=--upload-pack=x":             "cannot be the name of a branch",
		"git::https://host/repo?ref=a..b":                        "cannot be the name of a branch",
		"git::https://host/repo?sshkey=c2VjcmV0":                 "ssh-agent",
		"git::http://host/repo":                                  "http to another machine, host, is not encrypted: use https",
		"git::ext::sh -c x":                                      "not a git address",
		"git::ext://sh":                                          `not by "ext"`,
		"git::relative/path":                                     "not a git address",
		"http://host/c.tgz":                                      "use https",
		"https://host/repo":                                      "Begin with git::",
		"https://host/c.tar.xz":                                  "not a supported archive",
		"https://host/c.tgz?checksum=file:https://u:p@host/sums": "pass the checksum itself",
		"oci://host/repo":                                        "a tag or digest is missing",
		"oci://u:p@host/repo:v1":                                 "docker login",
		"oci://host/UPPER:v1":                                    "not a reference to an artifact",
		"oci://host/a/../b:v1":                                   `invalid repository "a/../b"`,
		"oci://host/repo:":                                       "a tag or digest is missing",
		"oci://host/repo:-":                                      `invalid tag "-"`,
		"oci://host/repo@sha256:..":                              `invalid digest "sha256:.."`,
		"s3::https://bucket/c.tgz":                               "unsupported scheme",
		"file:///srv/catalog":                                    "unsupported scheme",
		"https://":                                               "not the address of a catalog",
	}
	for text, want := range cases {
		t.Run(text, func(t *testing.T) {
			must.True(t, IsAddress(text))
			_, err := Parse(text)
			must.ErrorContains(t, err, want)
			for _, secret := range []string{"u:p@", "c2VjcmV0"} {
				must.StrNotContains(t, err.Error(), secret)
			}
		})
	}
}

// A credential is in no text that is shown or stored, wherever it stands.
func TestNoCredentialIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`s3cr[a-z0-9%~.+-]{4,12}t`).Draw(t, "secret")
		secret = strings.ReplaceAll(secret, "%", "%25")
		form := rapid.SampledFrom([]string{
			"git::https://SECRET@host/repo.git", "git::https://u:SECRET@host/repo.git//a?ref=v1", "git::ssh://git:SECRET@host/r",
			"https://u:SECRET@host/c.tgz", "https://host/c.tgz?token=SECRET", "https://host/c?archive=zip&SECRET=&a=SECRET//x",
			"https://SECRET:@host/none", "oci://SECRET@host/a:b", "git::https://host/r?password=SECRET", "git::http://u:SECRET@host/r",
		}).Draw(t, "form")
		text := strings.ReplaceAll(form, "SECRET", secret)
		a, err := Parse(text)
		shown := a.String()
		if err != nil {
			shown = err.Error()
		} else {
			shown += a.scrub(errors.New("fetch " + a.url + ": refused")).Error()
		}
		if strings.Contains(form, "&SECRET=") {
			return // the name of a parameter is none
		}
		if strings.Contains(shown, secret) {
			t.Fatalf("%s is shown as %s", text, shown)
		}
	})
}
