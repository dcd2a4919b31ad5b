package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// TestServe_AsJob checks that the proxy can run as a job of the Nomad that it forwards to.
func TestServe_AsJob(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, "jobs", "serve", "nomad-sidecar.nomad.hcl"))
	must.NoError(t, err)
	c := start(t, "runc")
	hcl := string(text)
	for old, replacement := range map[string]string{
		"http://${attr.unique.network.ip-address}:4646": c.Client().Address(),
		"count = 2":     "count = 1", // the cluster has one client
		"static = 4747": "",
		"\"10s\"":       "\"1s\"",
	} {
		must.StrContains(t, hcl, old)
		hcl = strings.Replace(hcl, old, replacement, 1)
	}
	alloc := c.run(hcl, api.AllocClientStatusRunning)
	var address string
	for _, p := range alloc.AllocatedResources.Shared.Ports {
		if p.Label == "api" {
			address = p.HostIP + ":" + strconv.Itoa(p.Value)
		}
	}
	proxied, err := api.NewClient(&api.Config{Address: "http://" + address})
	must.NoError(t, err)
	c.eventually("the proxy answers", func() error { _, err := proxied.Status().Leader(); return err })
	job, err := proxied.Jobs().ParseHCL(testdata(t, "counter.nomad.hcl"), true)
	must.NoError(t, err)
	_, _, err = proxied.Jobs().Register(job, nil)
	must.ErrorContains(t, err, "Job counter has no team.")
	job.SetMeta("team", "e2e")
	_, _, err = proxied.Jobs().Register(job, nil)
	must.NoError(t, err)
}
