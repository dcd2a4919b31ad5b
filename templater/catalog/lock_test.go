package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"
)

const lockText = `# Kept by "nomad-sidecar get", which pins the catalogs here that were fetched from an
# address. Put it under version control. Edits are lost; a block may be removed.

catalog "git::https://host/repo.git//a?ref=$${x}" {
  commit  = "0123"
  content = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  sidecars = {
    "topz 1.0.0"  = "sha256:aa"
    "topz 1.10.0" = "sha256:cc"
    "x 0.1.0"     = "sha256:bb"
  }
}

catalog "oci://host/repo:v1" {
  manifest = "sha256:dd"
  content  = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  sidecars = {
    "x 0.1.0" = "sha256:bb"
  }
}
`

func TestLockIsStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	must.NoError(t, os.WriteFile(path, []byte(lockText), 0o644))
	lock, diags := ReadLock(path)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, lockText, string(lock.Bytes()))
	must.Eq(t, "0123", lock.Entries["git::https://host/repo.git//a?ref=${x}"].Origin)
	must.Eq(t, "manifest sha256:dd", lock.Entries["oci://host/repo:v1"].From())

	// An entry that is there already changes nothing, another one is put in place.
	c := Cache{Dir: t.TempDir()}
	must.NoError(t, Update(c, path, []*Entry{lock.Entries["oci://host/repo:v1"]}))
	text, err := os.ReadFile(path)
	must.NoError(t, err)
	must.Eq(t, lockText, string(text))
	middle := *lock.Entries["oci://host/repo:v1"]
	middle.Kind, middle.Address = Archive, "https://host/c.tgz"
	must.NoError(t, Update(c, path, []*Entry{&middle}))
	text, err = os.ReadFile(path)
	must.NoError(t, err)
	first, second, third := strings.Index(string(text), "git::"), strings.Index(string(text), "https://host/c.tgz"), strings.Index(string(text), "oci://")
	must.True(t, first < second && second < third)
	left, err := os.ReadDir(filepath.Dir(path))
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
}

func TestLockErrors(t *testing.T) {
	entry := "catalog \"a\" {\n  commit = \"c\"\n  content = \"h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n  sidecars = {}\n}\n"
	for text, want := range map[string]struct {
		line    int
		message string
	}{
		"catalog {":                                    {1, ""},
		"\nother {}":                                   {2, "other"},
		entry + entry:                                  {6, "already locked"},
		"catalog \"a\" {\n  commit = 1\n}":             {1, "content"},
		strings.Replace(entry, "h1:", "h2:", 1):        {1, "is not a digest such as h1:"},
		strings.Replace(entry, "commit", "version", 1): {2, "version"},
		strings.Replace(entry, "sidecars", "manifest = \"m\"\nsidecars", 1): {1, "one of commit, archive and manifest"},
		strings.Replace(entry, "commit = \"c\"", "", 1):                     {1, "one of commit, archive and manifest"},
	} {
		t.Run(text, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), LockName)
			must.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			_, diags := ReadLock(path)
			must.True(t, diags.HasErrors())
			var found *hcl.Diagnostic
			for _, d := range diags {
				must.StrContains(t, d.Detail, "nomad-sidecar get maintains this file: restore it from version control")
				if d.Subject.Start.Line == want.line && strings.Contains(d.Summary+d.Detail, want.message) {
					found = d
				}
			}
			must.NotNil(t, found, must.Sprint(diags))
		})
	}
}
