package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
)

func TestCache(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "a", "b")}
	files := Files{"x/x.sidecar.hcl": []byte("x"), "y.sidecar.hcl": []byte("y")}
	digest, err := c.Store(files)
	must.NoError(t, err)
	must.True(t, c.Has(digest))
	back, err := c.Read(digest)
	must.NoError(t, err)
	must.Eq(t, files, back)
	_, err = c.Read("h1:" + strings.Repeat("A", 43) + "=")
	must.ErrorIs(t, err, fs.ErrNotExist)
	_, err = c.Read("h1:../../etc")
	must.ErrorContains(t, err, "not a digest")
}

// TestCacheAfterACut: what a process left that was killed while it wrote is neither
// taken for a copy nor kept, and a copy that is not whole is replaced.
func TestCacheAfterACut(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	files := Files{"a.sidecar.hcl": []byte("a"), "b.sidecar.hcl": []byte("b")}
	digest, err := files.Digest()
	must.NoError(t, err)
	folder, err := c.Folder(digest)
	must.NoError(t, err)
	for _, left := range []string{folder, filepath.Join(c.copies(), newPrefix+"1"), filepath.Join(c.copies(), oldPrefix+filepath.Base(folder))} {
		must.NoError(t, os.MkdirAll(left, 0o755))
		must.NoError(t, os.WriteFile(filepath.Join(left, "a.sidecar.hcl"), []byte("a"), 0o444))
	}
	must.False(t, c.Has(digest))
	_, err = c.Store(files)
	must.NoError(t, err)
	must.True(t, c.Has(digest))
	left, err := os.ReadDir(c.copies())
	must.NoError(t, err)
	must.SliceLen(t, 1, left)
}

const childCache = "SIDECAR_TEST_CACHE"

// TestCacheOfManyProcesses: whoever reads while others store sees a whole copy or
// none, and nobody's lock entry is lost.
func TestCacheOfManyProcesses(t *testing.T) {
	files := Files{}
	for i := range 40 {
		files[fmt.Sprintf("%d/x.sidecar.hcl", i)] = []byte(strings.Repeat("x", i))
	}
	digest, err := files.Digest()
	must.NoError(t, err)
	if dir := os.Getenv(childCache); dir != "" {
		c := Cache{Dir: dir}
		_, err := c.Store(files)
		must.NoError(t, err)
		entry := &Entry{Kind: Git, Address: fmt.Sprint(os.Getpid()), Origin: "c", Content: digest, Sidecars: map[string]string{"x 1.0.0": "sha256:x"}}
		must.NoError(t, Update(c, filepath.Join(dir, LockName), []*Entry{entry}))
		return
	}
	dir := t.TempDir()
	c := Cache{Dir: dir}
	const processes = 6
	var all sync.WaitGroup
	for range processes {
		all.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCacheOfManyProcesses$", "-test.count=1")
			cmd.Env = append(os.Environ(), childCache+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		back, err := c.Read(digest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must.NoError(t, err)
		must.Eq(t, files, back)
	}
	must.True(t, c.Has(digest))
	lock, diags := ReadLock(filepath.Join(dir, LockName))
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.MapLen(t, processes, lock.Entries)
}
