package catalog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// A copy that somebody edited is not used, the error says what is different, and
// getting it again mends it.
func TestTamperedCopy(t *testing.T) {
	g := newGetter(t)
	x, y := definition("x", "1.0.0", 10), definition("y", "1.0.0", 1)
	address := served(t, tarball(t, file("x.sidecar.hcl", x), file("y.sidecar.hcl", y))) + "/c.tgz"
	entry := got(t, g, address, nil, false).Entry
	folder, err := g.Cache.Folder(entry.Content)
	must.NoError(t, err)
	edit := func(name, text string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		must.NoError(t, os.Chmod(path, 0o644))
		must.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, diags := opened(t, g.Cache, entry)
		must.SliceLen(t, 1, diags)
		must.Eq(t, "Catalog differs from the lock", diags[0].Summary)
		must.StrContains(t, diags[0].Detail, "Fetch it again: nomad-sidecar get -catalog '"+address+"'")
		result := got(t, g, address, entry, false)
		must.False(t, result.Cached)
		must.Eq(t, entry, result.Entry)
		_, after := opened(t, g.Cache, entry)
		must.False(t, after.HasErrors(), must.Sprint(after))
		return diags[0].Detail
	}
	text := edit("x.sidecar.hcl", definition("x", "1.0.0", 11))
	must.StrContains(t, text, "x 1.0.0 ("+short(entry.Sidecars["x 1.0.0"])+") is now 1.0.0 (sha256:")
	must.StrNotContains(t, text, "memory") // nothing tells what it was

	must.StrContains(t, edit("x.sidecar.hcl", "# "+x), "x 1.0.0 ("+short(entry.Sidecars["x 1.0.0"])+") was removed")
	must.StrContains(t, edit("x.sidecar.hcl", x+"# more\n"), "every definition has the same meaning")

	// Another copy has the definition as it was.
	got(t, g, served(t, tarball(t, file("x.sidecar.hcl", x)))+"/c.tgz", nil, false)
	must.StrContains(t, edit("x.sidecar.hcl", definition("x", "1.0.0", 11)), `    task "x".resources.memory: 10 → 11`)
}

func TestNotFetched(t *testing.T) {
	g := newGetter(t)
	address := served(t, tarball(t, file("x.sidecar.hcl", definition("x", "1.0.0", 10)))) + "/c.tgz"
	entry := got(t, g, address, nil, false).Entry
	_, diags := opened(t, Cache{Dir: t.TempDir()}, entry)
	must.SliceLen(t, 1, diags)
	must.StrContains(t, diags[0].Detail, "is locked to archive sha256:")
	must.StrContains(t, diags[0].Detail, "nomad-sidecar get -catalog '"+address+"'")
}

func TestDifferences(t *testing.T) {
	before := side{digests: map[string]string{"a 1.0.0": "1", "b 1.9.0": "2", "b 1.10.0": "3", "c 1.0.0": "4", "d 1.0.0": "5"}}
	after := side{digests: map[string]string{"a 1.0.0": "1", "b 1.10.0": "3", "b 2.0.0": "6", "c 1.0.0": "7", "e 1.0.0": "8"}}
	must.Eq(t, []string{
		"b 1.9.0 (2) is now 2.0.0 (6)",
		"c 1.0.0 (4) is now 1.0.0 (7), and has the same version",
		"d 1.0.0 (5) was removed",
		"e 1.0.0 (8) is new",
	}, differences(before, after))
	must.SliceEmpty(t, differences(before, before))
}
