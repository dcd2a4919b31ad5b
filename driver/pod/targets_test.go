package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
)

func TestPrepareTargets(t *testing.T) {
	source := t.TempDir()
	file := filepath.Join(source, "file")
	must.NoError(t, os.WriteFile(file, nil, 0o644))
	bind := func(from, to string) specs.Mount { return specs.Mount{Type: "bind", Source: from, Destination: to} }
	cases := map[string]struct {
		make   func(root string) error
		mount  specs.Mount
		exists string // must exist afterwards
		says   string
	}{
		"missing file":        {nil, bind(file, "/etc/hosts"), "etc/hosts", ""},
		"missing directory":   {nil, bind(source, "/a/b"), "a/b", ""},
		"dead link to parent": {func(r string) error { return os.Symlink("/nowhere", r+"/etc") }, bind(file, "/etc/hosts"), "nowhere/hosts", ""},
		"dead link":           {func(r string) error { return os.Symlink("../../../../over", r+"/x") }, bind(file, "/x"), "over", ""},
		"loop":                {func(r string) error { return os.Symlink("x", r+"/x") }, bind(file, "/x"), "", "a loop of symbolic links"},
		"file for directory":  {func(r string) error { return os.WriteFile(r+"/alloc", nil, 0o644) }, bind(source, "/alloc"), "", "the image has a file there, and a directory is mounted"},
		"directory for file":  {func(r string) error { return os.Mkdir(r+"/x", 0o755) }, bind(file, "/x"), "", "the image has a directory there"},
		"file as parent":      {func(r string) error { return os.WriteFile(r+"/etc", nil, 0o644) }, bind(file, "/etc/hosts"), "", "in place of a parent directory"},
		"link for proc":       {func(r string) error { return os.Symlink("/x", r+"/proc") }, specs.Mount{Type: "proc", Destination: "/proc"}, "", "a symbolic link there"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			root := filepath.Join(outside, "root")
			must.NoError(t, os.Mkdir(root, 0o755))
			if tc.make != nil {
				must.NoError(t, tc.make(root))
			}
			err := prepareTargets(root, []specs.Mount{tc.mount})
			if tc.says != "" {
				must.ErrorIs(t, err, ErrInvalid)
				must.ErrorContains(t, err, tc.says)
				must.StrNotContains(t, err.Error(), outside)
			} else {
				must.NoError(t, err)
				_, err := os.Lstat(filepath.Join(root, tc.exists))
				must.NoError(t, err)
			}
			left, err := os.ReadDir(outside)
			must.NoError(t, err)
			must.Len(t, 1, left, must.Sprint("entries outside of the root"))
		})
	}
}

func TestSetTmpfsModes(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"run", "var/log", "usr/lib", "real"} {
		must.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o750))
	}
	must.NoError(t, os.Symlink("/real", filepath.Join(root, "link")))
	must.NoError(t, os.Symlink("/etc", filepath.Join(root, "dead")))
	tmpfs := func(to string, options ...string) specs.Mount {
		return specs.Mount{Type: "tmpfs", Destination: to, Options: options}
	}
	must.NoError(t, setTmpfsModes(root, []specs.Mount{
		tmpfs("/run", "mode=1777"), tmpfs("/var/log", "mode=1777", "mode=0700", "uid=7"), tmpfs("/link", "mode=711"),
		tmpfs("/dead", "mode=000"), tmpfs("/missing", "mode=700"), tmpfs("/var", "nosuid"),
		{Type: "bind", Destination: "/usr"}, tmpfs("/usr/lib", "mode=777"),
	}))
	for dir, want := range map[string]os.FileMode{
		"run": 0o777 | os.ModeSticky, "var/log": 0o700, "real": 0o711, "usr/lib": 0o750, "var": 0o750,
	} {
		info, err := os.Stat(filepath.Join(root, dir))
		must.NoError(t, err)
		must.Eq(t, want|os.ModeDir, info.Mode(), must.Sprint(dir))
	}
}
