package logs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
)

// FuzzSpec checks that no SpecFile crashes the collector or makes it write outside of the
// allocation.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"version":1,"alloc_dir":"/a","dir":"alloc/logs","max_files":1,"max_bytes":1,"streams":[{"fifo":"stdout","base":"web.stdout"}]}`))
	f.Add([]byte(`{"version":1,"alloc_dir":"/a","dir":"../..","max_files":1,"max_bytes":1,"streams":[{"fifo":"/dev/zero","base":"../x"}]}`))
	f.Add([]byte(`{"version":1e9,"streams":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), SpecFile)
		must.NoError(t, os.WriteFile(path, text, 0o600))
		spec, err := readSpec(path)
		if err != nil {
			return
		}
		must.True(t, filepath.IsAbs(spec.AllocDir) && filepath.IsLocal(spec.Dir))
		for _, s := range spec.Streams {
			must.Eq(t, filepath.Base(s.FIFO), s.FIFO)
			must.Eq(t, filepath.Base(s.Base), s.Base)
		}
		must.NoError(t, WriteSpec(filepath.Dir(path), spec))
		again, err := readSpec(path)
		must.NoError(t, err)
		must.Eq(t, spec.Dir, again.Dir)
	})
}
