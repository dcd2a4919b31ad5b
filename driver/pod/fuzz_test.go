package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzLookupUser checks that no passwd or group file crashes the lookup, and that the result is
// deterministic.
func FuzzLookupUser(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\nwheel:x:10:root,app\n", "root", "wheel")
	f.Add("a:x:4294967296:-1::\n:::::\n", "x:\n\x00:x:99999999999999999999:a\n", "a:x", "-1")
	f.Add("", "", "1234:5678", "12")
	f.Fuzz(func(t *testing.T, passwd, group, name, more string) {
		root := t.TempDir()
		must.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
		must.NoError(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644))
		must.NoError(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte(group), 0o644))
		user, home, err := lookupUser(root, name, more)
		again, sameHome, errAgain := lookupUser(root, name, more)
		must.Eq(t, user, again)
		must.Eq(t, home, sameHome)
		must.Eq(t, err == nil, errAgain == nil)
	})
}
