package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

func TestMakePrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	mkdir := func(t *testing.T, path string, mode os.FileMode, uid int) {
		t.Helper()
		must.NoError(t, os.MkdirAll(path, 0o755))
		must.NoError(t, os.Chmod(path, mode))
		must.NoError(t, os.Chown(path, uid, uid))
	}
	const nobody = 65534
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string // part of the error; empty if the directory is private afterwards
	}{
		"missing":          {func(*testing.T, string) {}, ""},
		"open":             {func(t *testing.T, dir string) { mkdir(t, dir, 0o755, 0); mkdir(t, dir+"/roots", 0o755, 0) }, ""},
		"already private":  {func(t *testing.T, dir string) { mkdir(t, dir, 0o700, 0); mkdir(t, dir+"/mine", 0o755, 0) }, ""},
		"sticky parent":    {func(t *testing.T, dir string) { mkdir(t, filepath.Dir(dir), 0o777|os.ModeSticky, 0) }, ""},
		"not ours":         {func(t *testing.T, dir string) { mkdir(t, dir, 0o755, 0); mkdir(t, dir+"/mine", 0o755, 0) }, "it holds other files"},
		"owner":            {func(t *testing.T, dir string) { mkdir(t, dir, 0o700, nobody) }, "it belongs to user 65534"},
		"writable parent":  {func(t *testing.T, dir string) { mkdir(t, filepath.Dir(dir), 0o777, 0) }, "has mode 0777; run \"chmod go-w "},
		"group's parent":   {func(t *testing.T, dir string) { mkdir(t, filepath.Dir(dir), 0o775, 0) }, "has mode 0775; run \"chmod go-w "},
		"parent's owner":   {func(t *testing.T, dir string) { mkdir(t, filepath.Dir(dir), 0o755, nobody) }, "user 65534, who owns "},
		"link":             {func(t *testing.T, dir string) { link(t, dir, t.TempDir(), 0) }, ""},
		"link, its owner":  {func(t *testing.T, dir string) { link(t, dir, t.TempDir(), nobody) }, "cannot be trusted"},
		"link, its parent": {func(t *testing.T, dir string) { to := t.TempDir(); mkdir(t, to, 0o777, 0); link(t, dir, to+"/x", 0) }, "has mode 0777"},
		"link to itself":   {func(t *testing.T, dir string) { link(t, dir, dir, 0) }, "cannot be trusted"},
		"file":             {func(t *testing.T, dir string) { must.NoError(t, os.WriteFile(dir, nil, 0o600)) }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "data")
			must.NoError(t, os.Mkdir(filepath.Dir(dir), 0o755))
			tc.prepare(t, dir)
			err := makePrivate("data_dir", dir)
			if tc.want != "" {
				must.ErrorContains(t, err, tc.want)
				must.ErrorContains(t, err, "data_dir = ")
				return
			}
			must.NoError(t, err)
			info, err := os.Stat(dir)
			must.NoError(t, err)
			must.Eq(t, 0o700|os.ModeDir, info.Mode())
		})
	}
	for _, dir := range []string{"", "/", "//", "data"} {
		must.ErrorContains(t, makePrivate("data_dir", dir), "want an absolute path below /")
	}
}

func link(t *testing.T, path, to string, uid int) {
	t.Helper()
	must.NoError(t, os.Symlink(to, path))
	must.NoError(t, os.Lchown(path, uid, uid))
}
