package pod

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// No task can run as the infra process's user or group, whether by a number, a name in the image,
// or as an additional group.
func TestLookupUser_InfraID(t *testing.T) {
	dir := t.TempDir()
	must.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(
		"evil:x:2147483647:0::/:\nwraps:x:4294967296:0::/:\ngroup:x:1:2147483647::/:\nmember:x:1:1::/:\nlast:x:2147483646:1::/:\n"), 0o644))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "etc/group"), []byte("infra:x:2147483647:member\n"), 0o644))
	for _, name := range []string{"2147483647", "2147483647:1", "1:2147483647", "evil", "wraps", "group", "member", "1:infra"} {
		_, _, err := lookupUser(dir, name)
		must.ErrorIs(t, err, ErrInvalid, must.Sprint(name))
	}
	for _, group := range []string{"infra", "2147483647", "4294967295"} {
		_, _, err := lookupUser(dir, "last", group)
		must.ErrorIs(t, err, ErrInvalid, must.Sprint(group))
	}
	_, _, err := lookupUser(dir, "last")
	must.NoError(t, err)
}

func TestInfraProgram_FollowsUpgrade(t *testing.T) {
	dir := t.TempDir()
	original := filepath.Join(dir, "catatonit")
	write := func(text string, at time.Time) string {
		must.NoError(t, os.WriteFile(original, []byte(text), 0o755))
		must.NoError(t, os.Chtimes(original, at, at))
		path, err := infraProgram(original, filepath.Join(dir, "infra"))
		must.NoError(t, err)
		b, err := os.ReadFile(path)
		must.NoError(t, err)
		info, err := os.Stat(path)
		must.NoError(t, err)
		must.Eq(t, os.FileMode(0o111), info.Mode(), must.Sprint("mode of the copy: readable programs are dumpable"))
		return string(b)
	}
	first := time.Unix(1700000000, 1)
	must.Eq(t, "one", write("one", first))
	must.Eq(t, "one", write("two", first), must.Sprint("copied once"))
	must.Eq(t, "two", write("two", first.Add(1)))
	entries, err := os.ReadDir(filepath.Join(dir, "infra"))
	must.NoError(t, err)
	must.SliceLen(t, 1, entries)
	_, err = infraProgram(filepath.Join(dir, "none"), filepath.Join(dir, "infra"))
	must.ErrorIs(t, err, os.ErrNotExist)
}
