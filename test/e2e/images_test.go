package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// images returns the references of the images built by make images, by name.
func images(t *testing.T) map[string]string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(repository, "bin", "images"))
	must.NoError(t, err)
	indexes, err := filepath.Glob(filepath.Join(dir, "*", "index.json"))
	must.NoError(t, err)
	if len(indexes) == 0 {
		t.Skip("needs bin/images: run make images")
	}
	found := map[string]string{}
	for _, path := range indexes {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		var index struct {
			Manifests []struct{ Annotations map[string]string }
		}
		must.NoError(t, json.Unmarshal(text, &index))
		must.SliceLen(t, 1, index.Manifests, must.Sprint(path))
		layout := filepath.Dir(path)
		found[filepath.Base(layout)] = "oci:" + layout + ":" + index.Manifests[0].Annotations["org.opencontainers.image.ref.name"]
	}
	return found
}

// TestSidecar_RunsFromImage checks that a sidecar runs from the image in its parameter, without
// files of the client.
func TestSidecar_RunsFromImage(t *testing.T) {
	reference := images(t)["topz"]
	must.NotEq(t, "", reference)
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		alloc, err := c.RunJob(c.ctx, inject(c.t, "-param", "topz.image="+reference, webJob))
		must.NoError(c.t, err)
		alloc, err = c.WaitRunning(c.ctx, alloc.ID)
		must.NoError(c.t, err)
		checkTopz(c, alloc)

		root := fmt.Sprintf("/proc/%d/root", c.first(alloc, "topz").PID)
		programs, err := os.ReadDir(root + podBin)
		must.NoError(c.t, err)
		must.SliceLen(c.t, 1, programs, must.Sprint("programs in the image"))
		_, err = os.Stat(root + "/bin/sh")
		must.ErrorIs(c.t, err, os.ErrNotExist, must.Sprint("file of the client"))
	})
}

// TestImages_EachRuns checks that each image has a working program at the path that definitions
// use.
func TestImages_EachRuns(t *testing.T) {
	all := images(t)
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		runs := func(c *cluster, name, reference string, args ...string) *api.Allocation {
			config := fmt.Sprintf("image = %q\ncommand = %q\nargs = [%s]", reference, podBin+"/"+name,
				strings.ReplaceAll(strings.Trim(fmt.Sprintf("%q", args), "[]"), `" "`, `", "`))
			alloc, err := c.RunJob(c.ctx, testdata(c.t, "config.nomad.hcl", "NAME", "image-"+name, "CONFIG", config))
			must.NoError(c.t, err)
			alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusComplete, api.AllocClientStatusFailed)
			must.Eq(c.t, end{}, endOf(c.t, alloc), must.Sprint(agent.Events(alloc)))
			return alloc
		}
		for name, reference := range all {
			c.t.Run(name, func(t *testing.T) {
				c := &cluster{c.Agent, t, c.ctx}
				c.waitLog(runs(c, name, reference, "-h"), "once", "stderr", "Usage of "+name)
			})
		}
		if reference := all["wait-for"]; reference != "" { // it connects to servers by HTTPS
			runs(c, "wait-for", reference, "-target", "file:///etc/ssl/certs/ca-certificates.crt", "-timeout", "1s")
		}
	})
}

// TestImageMount checks that a task can run a program from a mounted directory of an image.
func TestImageMount(t *testing.T) {
	reference := images(t)["topz"]
	must.NotEq(t, "", reference)
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		config := fmt.Sprintf(`command = "/srv/bin/topz"
			args = ["-h"]
			mount {
			  type   = "image"
			  source = %q
			  target = "/srv"
			  image_options { subpath = "opt/nomad-sidecar" }
			}`, reference)
		alloc, err := c.RunJob(c.ctx, testdata(c.t, "config.nomad.hcl", "NAME", "image-mount", "CONFIG", config))
		must.NoError(c.t, err)
		alloc = c.waitAlloc(alloc.ID, api.AllocClientStatusComplete, api.AllocClientStatusFailed)
		must.Eq(c.t, end{}, endOf(c.t, alloc), must.Sprint(agent.Events(alloc)))
		c.waitLog(alloc, "once", "stderr", "Usage of topz")
	})
}
