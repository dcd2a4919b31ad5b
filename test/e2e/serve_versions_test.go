package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

// TestServe_TwoCatalogs checks two proxies with different catalogs: the last registration applies, a
// plan predicts its effect, and nothing changes without a registration.
func TestServe_TwoCatalogs(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	catalog := func(version string) *front {
		return c.serveAt("127.0.0.1:0", "-policy", "testdata/fleet/rules.policy.hcl", "-catalog", "testdata/fleet/"+version)
	}
	older, newer := catalog("old"), catalog("new")
	file := older.file("idle.nomad.hcl", strings.Replace(testdata(t, "fleet.nomad.hcl", "JOB", "idle", "COMMAND", "/bin/sleep"),
		`group "app" {`, "group \"app\" {\n    count = 0\n", 1))

	newer.does("job", "run", "-detach", file)
	must.Eq(t, "1.1.0", c.stored("idle"))
	must.Eq(t, 0, c.version("idle"))
	older.tells(file, "1.1.0", "1.0.0")
	newer.unchanged(file, 0)
	c.says("new", 0, `beside +1\.1\.0 +1\.1\.0 +policy +ok`)
	c.says("old", 1, `beside +1\.1\.0 +1\.0\.0 +policy +ahead`)
	must.StrContains(t, c.sidecars(1, "old", "upgrade", "idle"), "default/idle: skipped")

	older.does("job", "run", "-detach", file)
	must.Eq(t, "1.0.0", c.stored("idle"))
	newer.tells(file, "1.0.0", "1.1.0")
	older.unchanged(file, 1)
	c.says("new", 1, `beside +1\.0\.0 +1\.1\.0 +policy +outdated`)
	c.says("old", 0, `beside +1\.0\.0 +1\.0\.0 +policy +ok`)

	// The job that Nomad has, with its sidecar, is treated as its file is.
	older.does("job", "stop", "-detach", "idle")
	newer.does("job", "start", "-detach", "idle")
	must.Eq(t, "1.1.0", c.stored("idle"))
	newer.unchanged(file, c.version("idle"))
	newer.does("job", "stop", "-detach", "idle")
	older.does("job", "start", "-detach", "idle")
	must.Eq(t, "1.0.0", c.stored("idle"))
	older.unchanged(file, c.version("idle"))

	// Each accepts a version that the other one made, since it has the sidecar.
	older.does("job", "revert", "-detach", "idle", "0")
	must.Eq(t, "1.1.0", c.stored("idle"))
}

// tells checks that a plan reports the change of the sidecar's version.
func (f *front) tells(file, from, to string) {
	f.t.Helper()
	out := f.does("job", "plan", file) // 0, since no allocation changes
	must.RegexMatch(f.t, regexp.MustCompile(`Meta\[sidecar\.version\]: +"`+regexp.QuoteMeta(from)+`" => "`+regexp.QuoteMeta(to)+`"`), out)
}

// unchanged plans and runs a file that is registered, which makes no version.
func (f *front) unchanged(file string, version int) {
	f.t.Helper()
	before := f.stored("idle")
	f.noDrift(file)
	f.does("job", "run", "-detach", file)
	must.Eq(f.t, version, f.version("idle"))
	must.Eq(f.t, before, f.stored("idle"))
}

// says checks for a line in the output of status with a catalog.
func (c *cluster) says(catalog string, code int, line string) {
	c.t.Helper()
	must.RegexMatch(c.t, regexp.MustCompile(line), c.sidecars(code, catalog, "status"))
}
