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
		{"dir:/a", "dir:/a", "", "/a"},
		{"dir:rel", "dir:rel", "", "rel"},
	} {
		ref, err := image.ParseReference(c.in)
		must.NoError(t, err, must.Sprint(c.in))
		must.Eq(t, c.want, ref.String())
		must.Eq(t, c.registry, ref.Registry())
		must.Eq(t, c.path, ref.Path())
		again, err := image.ParseReference(ref.String())
		must.NoError(t, err)
		must.True(t, ref == again, must.Sprintf("%s does not read back", c.in))
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                                   "docker.io/library/nginx:1.27",
		"Nginx":                              "lowercase",
		"nginx:":                             "invalid reference format",
		"https://quay.io/a":                  "leave out",
		"docker-daemon:a:b":                  "not supported",
		"oci:":                               "no path",
		"oci::tag":                           "no path",
		"dir:":                               "no path",
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

func TestReferenceResolve(t *testing.T) {
	must.Eq(t, "oci:/task/img:v1", parse(t, "oci:img:v1").Resolve("/task").String())
	must.Eq(t, "oci:/img:v1", parse(t, "oci:/img:v1").Resolve("/task").String())
	must.Eq(t, "docker.io/library/img:v1", parse(t, "img:v1").Resolve("/task").String())
}
