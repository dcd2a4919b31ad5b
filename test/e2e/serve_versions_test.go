package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestServe_TwoCatalogs checks two proxies with different catalogs: the last registration
// applies, a plan predicts its effect, and nothing changes without a registration.
func TestServe_TwoCatalogs(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	catalog := func(version string) *proxy {
		return c.serveAt("127.0.0.1:0", "-policy", "testdata/fleet/rules.policy.hcl", "-catalog", "testdata/fleet/"+version)
	}
	older, newer := catalog("old"), catalog("new")
	file := older.file("idle.nomad.hcl", strings.Replace(testdata(t, "fleet.nomad.hcl", "JOB", "idle", "COMMAND", "/bin/sleep"),
		`group "app" {`, "group \"app\" {\n    count = 0\n", 1))

	newer.mustNomad("job", "run", "-detach", file)
	must.Eq(t, "1.1.0", c.storedSidecar("idle"))
	must.Eq(t, 0, c.version("idle"))
	older.checkPlanShows(file, "1.1.0", "1.0.0")
	newer.checkNoNewVersion(file, 0)
	c.expectStatus("new", 0, `beside +1\.1\.0 +1\.1\.0 +policy +ok`)
	c.expectStatus("old", 1, `beside +1\.1\.0 +1\.0\.0 +policy +ahead`)
	must.StrContains(t, c.nomadSidecar(1, "old", "upgrade", "idle"), "default/idle: skipped")

	older.mustNomad("job", "run", "-detach", file)
	must.Eq(t, "1.0.0", c.storedSidecar("idle"))
	newer.checkPlanShows(file, "1.0.0", "1.1.0")
	older.checkNoNewVersion(file, 1)
	c.expectStatus("new", 1, `beside +1\.0\.0 +1\.1\.0 +policy +outdated`)
	c.expectStatus("old", 0, `beside +1\.0\.0 +1\.0\.0 +policy +ok`)

	// A job read from Nomad, with its sidecar, is treated like its file.
	older.mustNomad("job", "stop", "-detach", "idle")
	newer.mustNomad("job", "start", "-detach", "idle")
	must.Eq(t, "1.1.0", c.storedSidecar("idle"))
	newer.checkNoNewVersion(file, c.version("idle"))
	newer.mustNomad("job", "stop", "-detach", "idle")
	older.mustNomad("job", "start", "-detach", "idle")
	must.Eq(t, "1.0.0", c.storedSidecar("idle"))
	older.checkNoNewVersion(file, c.version("idle"))

	// Each accepts a version registered through the other one, since it has the sidecar.
	older.mustNomad("job", "revert", "-detach", "idle", "0")
	must.Eq(t, "1.1.0", c.storedSidecar("idle"))
}

// checkPlanShows checks that a plan reports the change of the sidecar's version.
func (p *proxy) checkPlanShows(file, from, to string) {
	p.t.Helper()
	out := p.mustNomad("job", "plan", file) // exits with 0, since no allocation changes
	must.RegexMatch(p.t, regexp.MustCompile(`Meta\[sidecar\.version\]: +"`+regexp.QuoteMeta(from)+`" => "`+regexp.QuoteMeta(to)+`"`), out)
}

// checkNoNewVersion checks that planning and running a registered file creates no version.
func (p *proxy) checkNoNewVersion(file string, version int) {
	p.t.Helper()
	before := p.storedSidecar("idle")
	p.noDrift(file)
	p.mustNomad("job", "run", "-detach", file)
	must.Eq(p.t, version, p.version("idle"))
	must.Eq(p.t, before, p.storedSidecar("idle"))
}

// expectStatus checks for a line in the output of status with a catalog.
func (c *cluster) expectStatus(catalog string, code int, line string) {
	c.t.Helper()
	must.RegexMatch(c.t, regexp.MustCompile(line), c.nomadSidecar(code, catalog, "status"))
}
