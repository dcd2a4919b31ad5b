package image_test

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

func TestParseReference(t *testing.T) {
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ in, want, registry, path string }{
		{"nginx", "docker.io/library/nginx:latest", "docker.io", ""},
		{"nginx:1.27", "docker.io/library/nginx:1.27", "docker.io", ""},
		{"grafana/loki:3", "docker.io/grafana/loki:3", "docker.io", ""},
		{"docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27", "docker.io", ""},
		{"docker://quay.io/a/b", "quay.io/a/b:latest", "quay.io", ""},
		{"localhost:5000/a", "localhost:5000/a:latest", "localhost:5000", ""},
		{"127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b", "127.0.0.1:5000", ""},
		{"nginx" + digest, "docker.io/library/nginx" + digest, "docker.io", ""},
		{"nginx:1.27" + digest, "docker.io/library/nginx" + digest, "docker.io", ""},
		{"oci:/a/b", "oci:/a/b", "", "/a/b"},
		{"oci:/a//b/:tag", "oci:/a/b:tag", "", "/a/b"},
		{"oci-archive:/a.tar:v1", "oci-archive:/a.tar:v1", "", "/a.tar"},
		{"docker-archive:/a.tar", "docker-archive:/a.tar", "", "/a.tar"},
		{"docker-archive:/a.tar:app:v1", "docker-archive:/a.tar:app:v1", "", "/a.tar"},
		{"docker-archive:/a.tar:@1", "docker-archive:/a.tar:@1", "", "/a.tar"},
		{"oci:rel", "oci:rel", "", "rel"},
	} {
		ref, err := image.ParseReference(c.in)
		must.NoError(t, err, must.Sprint(c.in))
		must.Eq(t, c.want, ref.String())
		must.Eq(t, c.registry, ref.Registry())
		must.Eq(t, c.path, ref.Path())
		again, err := image.ParseReference(ref.String())
		must.NoError(t, err)
		must.True(t, ref == again, must.Sprintf("parse and format %s", c.in))
	}
}

func TestParseReference_Invalid(t *testing.T) {
	for in, says := range map[string]string{
		"":                                   "docker.io/library/nginx:1.27",
		"Nginx":                              "lowercase",
		"nginx:":                             "invalid reference format",
		"https://quay.io/a":                  "leave out",
		"docker-daemon:a:b":                  "not supported",
		"oci:":                               "no path",
		"oci::tag":                           "no path",
		"dir:/a":                             "oci:PATH",
		"oci:/a:bad tag":                     "bad tag",
		"docker-archive:/a.tar:@x":           "@x",
		"nginx@sha256:123":                   "invalid",
		"docker-archive:/a.tar:UPPER:latest": "lowercase",
	} {
		_, err := image.ParseReference(in)
		must.ErrorIs(t, err, image.ErrInvalidReference, must.Sprint(in))
		must.StrContains(t, err.Error(), says)
		must.True(t, in == "" || strings.Contains(err.Error(), in))
	}
}

func TestLocate(t *testing.T) {
	places := image.AllowedPaths{TaskDir: "/a/x/task", SharedDir: "/a/x/alloc", Paths: []string{"/srv/images", "/srv/one.tar"}}
	locate := func(s string) (image.Reference, error) {
		ref, err := image.ParseReference(s)
		must.NoError(t, err)
		return places.Locate(ref)
	}
	for in, want := range map[string]string{
		"oci:img:v1":                  "oci:/a/x/task/img:v1",
		"oci:local/../img":            "oci:/a/x/task/img",
		"oci:../alloc/data/img":       "oci:/a/x/alloc/data/img",
		"oci:../task/img":             "oci:/a/x/task/img",
		"oci-archive:../alloc/a.tar":  "oci-archive:/a/x/alloc/a.tar",
		"docker-archive:/srv/one.tar": "docker-archive:/srv/one.tar",
		"oci:/srv/images/team/app:v1": "oci:/srv/images/team/app:v1",
		"oci:/srv/../srv/images/x":    "oci:/srv/images/x",
		"img:v1":                      "docker.io/library/img:v1",
		"oci:../alloc":                "oci:/a/x/alloc",
	} {
		ref, err := locate(in)
		must.NoError(t, err)
		must.Eq(t, want, ref.String())
	}
	for in, says := range map[string]string{
		"oci:../other/secrets":       "leaves the task's directory",
		"oci:../../y/task/secrets":   "leaves the task's directory",
		"oci:..":                     "leaves the task's directory",
		"oci:../alloc2":              "leaves the task's directory",
		"oci:/srv/imagesx":           "absolute paths are allowed only below /srv/images, ",
		"oci:/srv/images/../../etc":  "absolute paths are allowed only below /srv/images, ",
		"oci-archive:/srv/two.tar":   "absolute paths are allowed only below /srv/images, ",
		"docker-archive:/etc/shadow": "absolute paths are allowed only below /srv/images, ",
		"oci:/a/x/task/img":          "absolute paths are allowed only below /srv/images, ",
	} {
		_, err := locate(in)
		must.ErrorIs(t, err, image.ErrInvalidReference, must.Sprint(in))
		must.StrContains(t, err.Error(), says)
	}
	absolute, err := image.ParseReference("oci:/srv/images/x")
	must.NoError(t, err)
	_, err = image.AllowedPaths{TaskDir: "/a/x/task"}.Locate(absolute)
	must.ErrorContains(t, err, `can set image { paths = ["/srv/images"] }`)
	ref, err := image.ParseReference("oci:img")
	must.NoError(t, err)
	_, err = image.AllowedPaths{}.Locate(ref)
	must.ErrorContains(t, err, "must be absolute")
}
