package logs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"
)

const allocID = "0d5fa7c1-2c4b-4a5e-9f11-0123456789ab"

func TestIdentity_PodName(t *testing.T) {
	for name, tc := range map[string]struct {
		id   Identity
		want string
	}{
		"plain":      {Identity{Namespace: "default", Job: "web-1.2", Group: "front"}, "default_web-1.2_front"},
		"dispatched": {Identity{Namespace: "a", Job: "batch/dispatch-1-2", Group: "g"}, "a_batch%2Fdispatch-1-2_g"},
		"separator":  {Identity{Namespace: "a", Job: "b_c", Group: "d"}, "a_b%5Fc_d"},
		"parent":     {Identity{Namespace: "..", Job: "../..", Group: ".hidden"}, "%2E._%2E.%2F.._%2Ehidden"},
		"control":    {Identity{Namespace: "a", Job: "b\nc\x00%2F", Group: "é"}, "a_b%0Ac%00%252F_%C3%A9"},
		"empty":      {Identity{}, "~_~_~"},
	} {
		tc.id.AllocID = allocID
		must.Eq(t, tc.want+"_"+allocID, tc.id.PodName(), must.Sprint(name))
		must.RegexMatch(t, podName, tc.id.PodName(), must.Sprint(name))
	}
}

// TestIdentity_LongNames checks that long IDs fit in a file name and stay different.
func TestIdentity_LongNames(t *testing.T) {
	for _, char := range []string{"x", "/", "é"} {
		long := strings.Repeat(char, 5000)
		a := Identity{Namespace: long, Job: long, Group: long, Task: long, AllocID: allocID}
		b := a
		b.Job, b.Task = b.Job+"y", b.Task+"y"
		for _, id := range []Identity{a, b} {
			must.LessEq(t, unix.NAME_MAX, len(id.PodName()))
			must.LessEq(t, unix.NAME_MAX, len(id.TaskName()))
			must.RegexMatch(t, podName, id.PodName())
			must.RegexMatch(t, taskName, id.TaskName())
		}
		must.NotEq(t, a.PodName(), b.PodName())
		must.NotEq(t, a.TaskName(), b.TaskName())
	}
	for limit := range 30 {
		name := encode(strings.Repeat("/", 10+limit), 30)
		must.LessEq(t, 30, len(name))
		before, _, _ := strings.Cut(name, "~")
		must.Eq(t, 0, len(before)%len("%2F"), must.Sprint(name))
	}
}

// indexed is a stream with an index, and the directories of both.
type indexed struct {
	*outlet
	root, alloc string
	id          Identity
	dropped     atomic.Int32
}

func newIndexed(t *testing.T, root string, maxFiles int, maxBytes int64) *indexed {
	t.Helper()
	alloc := filepath.Join(t.TempDir(), "alloc")
	must.NoError(t, os.MkdirAll(filepath.Join(alloc, "logs"), 0o755))
	return indexedAlloc(t, root, alloc, maxFiles, maxBytes)
}

func indexedAlloc(t *testing.T, root, alloc string, maxFiles int, maxBytes int64) *indexed {
	t.Helper()
	i := &indexed{root: root, alloc: alloc, id: Identity{
		Namespace: "default", Job: "a/b", Group: "g", Task: "web", AllocID: allocID, AllocDir: alloc,
		Node: "n1", Meta: map[string]string{"team": "blue"},
	}}
	dir := filepath.Join(alloc, "logs")
	i.outlet = newOutletWith(t, dir, maxFiles, maxBytes, func(s *stream) {
		must.NoError(t, s.files.open())
		s.files.links = newLinks(&Index{Root: root, Meta: i.id}, "stdout", dir, func() { i.dropped.Add(1) })
	})
	return i
}

func (i *indexed) dir() string { return filepath.Join(i.root, i.id.PodName(), i.id.TaskName()) }

// wait ends the stream.
func (i *indexed) wait() {
	i.t.Helper()
	must.NoError(i.t, i.w.Close())
	<-i.stream.done
}

// TestLinks_Rotated checks that the links are the rotated files, with the identity beside them.
func TestLinks_Rotated(t *testing.T) {
	for name, other := range map[string]bool{"hard": false, "symbolic": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if other {
				root = tmpfs(t, "size=1m")
			}
			must.NoError(t, os.Chmod(root, 0o750))
			must.NoError(t, os.Chown(root, 0, 4))
			i := newIndexed(t, root, 3, 1000)
			i.write(lines(1, 1000))
			i.wait()
			must.Eq(t, 0, i.dropped.Load())
			numbers, contents := read(t, i.outlet.dir, "web.stdout")
			linked, through := read(t, i.dir(), "stdout")
			must.Eq(t, numbers, linked)
			must.Len(t, 3, linked)
			must.Eq(t, contents, through)
			info, err := os.Lstat(filepath.Join(i.dir(), fmt.Sprint("stdout.", linked[0])))
			must.NoError(t, err)
			must.Eq(t, other, info.Mode()&os.ModeSymlink != 0)

			text, err := os.ReadFile(filepath.Join(i.dir(), MetaFile))
			must.NoError(t, err)
			var id Identity
			must.NoError(t, json.Unmarshal(text, &id))
			must.Eq(t, i.id, id)
			for path, mode := range map[string]os.FileMode{filepath.Dir(i.dir()): 0o750, i.dir(): 0o750, filepath.Join(i.dir(), MetaFile): 0o640} {
				info, err := os.Stat(path)
				must.NoError(t, err)
				must.Eq(t, mode, info.Mode().Perm(), must.Sprint(path))
				must.Eq(t, 4, groupOf(t, path), must.Sprint(path))
			}
		})
	}
}

func groupOf(t *testing.T, path string) int {
	t.Helper()
	var stat unix.Stat_t
	must.NoError(t, unix.Stat(path, &stat))
	return int(stat.Gid)
}

// tmpfs mounts a file system for the duration of a test.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a tmpfs")
	}
	dir := t.TempDir()
	must.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// TestLinks_Resumed checks that the next collector links files that the one before it could not
// link, and drops links that it could not remove.
func TestLinks_Resumed(t *testing.T) {
	root := t.TempDir()
	alloc := filepath.Join(t.TempDir(), "alloc")
	logDir := filepath.Join(alloc, "logs")
	must.NoError(t, os.MkdirAll(logDir, 0o755))
	for n := range 4 {
		must.NoError(t, os.WriteFile(filepath.Join(logDir, fmt.Sprint("web.stdout.", n)), fmt.Append(nil, n, "\n"), 0o644))
	}
	must.NoError(t, os.Symlink("/etc/passwd", filepath.Join(logDir, "web.stdout.02")))
	i := Identity{Namespace: "default", Job: "a/b", Group: "g", Task: "web", AllocID: allocID}
	dir := filepath.Join(root, i.PodName(), i.TaskName())
	must.NoError(t, os.MkdirAll(dir, 0o755))
	for name, text := range map[string]string{"stdout.0": "left", "stdout.2": "of another file"} {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	x := indexedAlloc(t, root, alloc, 3, 1<<20)
	x.write("more\n")
	x.wait()
	numbers, contents := read(t, dir, "stdout")
	must.Eq(t, []int{1, 2, 3}, numbers)
	must.Eq(t, []string{"1\n", "2\n", "3\nmore\n"}, contents)
}

// TestLinks_FileRemoved checks that a link keeps the content of a file after its name was removed or
// given to another file, until the file would have been rotated away.
func TestLinks_FileRemoved(t *testing.T) {
	i := newIndexed(t, t.TempDir(), 3, 1000)
	i.write(lines(1, 200))
	waitFor(t, "rotation", func() bool { numbers, _ := read(t, i.dir(), "stdout"); return len(numbers) == 2 })
	first := filepath.Join(i.outlet.dir, "web.stdout.0")
	must.NoError(t, os.Remove(first))
	must.NoError(t, os.Symlink("/etc/passwd", first))
	i.write(lines(201, 300))
	i.wait()
	_, contents := read(t, i.dir(), "stdout")
	must.Eq(t, lines(1, 300), strings.Join(contents, ""))
}

// TestLinks_DirectoryReplaced checks that a link or mount in the index is not followed, and that the
// task does not notice.
func TestLinks_DirectoryReplaced(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	must.NoError(t, os.Symlink(outside, filepath.Join(root, Identity{Namespace: "default", Job: "a/b", Group: "g", AllocID: allocID}.PodName())))
	i := newIndexed(t, root, 3, 1000)
	i.write(lines(1, 100))
	i.wait()
	must.Eq(t, 1, i.dropped.Load())
	entries, err := os.ReadDir(outside)
	must.NoError(t, err)
	must.SliceEmpty(t, entries)
	_, contents := read(t, i.outlet.dir, "web.stdout")
	must.Eq(t, lines(1, 100), strings.Join(contents, ""))
}

// TestLinks_DiskFull checks that files without a link are counted once each, that the output is
// complete, and that links appear when there is space again.
func TestLinks_DiskFull(t *testing.T) {
	root := tmpfs(t, "size=64k,nr_inodes=4")
	for n := range 3 {
		must.NoError(t, os.WriteFile(filepath.Join(root, fmt.Sprint("full", n)), nil, 0o600))
	}
	i := newIndexed(t, root, 5, 1000)
	i.write(lines(1, 300))
	waitFor(t, "three files", func() bool { return i.dropped.Load() == 3 })
	must.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT, "size=64k,nr_inodes=100"))
	i.write(lines(301, 400))
	i.wait()
	must.Eq(t, 3, i.dropped.Load())
	_, contents := read(t, i.dir(), "stdout")
	must.Eq(t, lines(1, 400), strings.Join(contents, ""))
}

// TestLinks_Retried checks that a failed update is repeated after a while, and no other is.
func TestLinks_Retried(t *testing.T) {
	root := filepath.Join(t.TempDir(), "index")
	i := newIndexed(t, root, 5, 1000)
	i.write("line\n")
	waitFor(t, "output", func() bool {
		_, contents := read(t, i.outlet.dir, "web.stdout")
		return len(contents) == 1 && contents[0] != ""
	})
	i.wait()
	d, err := os.Open(i.outlet.dir)
	must.NoError(t, err)
	f := &i.stream.files
	f.dir = d
	must.NoError(t, f.open())
	f.links.retry(f, f.links.failed.Add(linkRetryDelay))
	must.Eq(t, 1, i.dropped.Load(), must.Sprint("counted once"))
	must.NoError(t, os.Mkdir(root, 0o755))
	f.links.retry(f, f.links.failed.Add(linkRetryDelay-1))
	must.DirNotExists(t, i.dir())
	f.links.retry(f, f.links.failed.Add(linkRetryDelay))
	_, contents := read(t, i.dir(), "stdout")
	must.Eq(t, []string{"line\n"}, contents)
	must.NoError(t, f.close())
	must.NoError(t, d.Close())
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	(&node{t: t}).eventually(what, done)
}

// TestSweep checks that entries of allocations that are gone are removed, and nothing else.
func TestSweep(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(outside, "stdout.0"), nil, 0o600))
	must.NoError(t, os.WriteFile(filepath.Join(outside, MetaFile), []byte(`{"alloc_dir":"/gone"}`), 0o600))
	entry := func(job, task, allocDir string) string {
		id := Identity{Namespace: "default", Job: job, Group: "g", Task: task, AllocID: allocID, AllocDir: allocDir}
		dir := filepath.Join(root, id.PodName(), id.TaskName())
		must.NoError(t, os.MkdirAll(dir, 0o755))
		text, err := json.Marshal(id)
		must.NoError(t, err)
		must.NoError(t, os.WriteFile(filepath.Join(dir, MetaFile), text, 0o600))
		for _, name := range []string{"stdout.0", "stderr.10", ".stdout.meta.json"} {
			must.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		}
		must.NoError(t, os.Symlink("/gone/x", filepath.Join(dir, "stdout.1")))
		return dir
	}
	aged := func(path string) string {
		old := time.Now().Add(-2 * unfinishedAge)
		must.NoError(t, os.Chtimes(path, old, old))
		return path
	}
	live := entry("live", "a", t.TempDir())
	gone := entry("gone", "a", "/gone")
	mixed := entry("live", "b", "/gone")
	own := entry("own", "a", "/gone")
	must.NoError(t, os.WriteFile(filepath.Join(own, "notes"), nil, 0o600))
	young := entry("young", "a", "/gone")
	must.NoError(t, os.WriteFile(filepath.Join(young, MetaFile), []byte("{"), 0o600))
	damaged := entry("damaged", "a", "/gone")
	must.NoError(t, os.Remove(filepath.Join(damaged, MetaFile)))
	aged(damaged)
	foreign := filepath.Join(root, "other")
	must.NoError(t, os.Mkdir(foreign, 0o755))
	link := filepath.Join(root, Identity{Namespace: "a", Job: "link", Group: "g", AllocID: allocID}.PodName())
	must.NoError(t, os.Symlink(filepath.Dir(outside), link))
	inner := filepath.Join(filepath.Dir(live), "inner")
	must.NoError(t, os.Symlink(outside, inner))

	removed, err := Sweep(root)
	must.NoError(t, err)
	must.Eq(t, 4, removed)
	for _, dir := range []string{filepath.Dir(gone), mixed, filepath.Dir(damaged)} {
		must.DirNotExists(t, dir)
	}
	for _, path := range []string{
		filepath.Join(live, "stdout.1"), filepath.Join(own, "notes"), filepath.Join(young, "stdout.0"), foreign, link, inner,
		filepath.Join(outside, "stdout.0"), filepath.Join(outside, MetaFile),
	} {
		_, err := os.Lstat(path)
		must.NoError(t, err)
	}
	_, err = Sweep(filepath.Join(root, "none"))
	must.ErrorIs(t, err, os.ErrNotExist)
}

// TestSweep_Mount checks that the sweep removes nothing on a file system that is mounted in the
// index.
func TestSweep_Mount(t *testing.T) {
	mounted := tmpfs(t, "size=64k")
	id := Identity{Namespace: "default", Job: "j", Group: "g", Task: "t", AllocID: allocID}
	root := t.TempDir()
	dir := filepath.Join(root, id.PodName(), id.TaskName())
	must.NoError(t, os.MkdirAll(dir, 0o755))
	must.NoError(t, os.WriteFile(filepath.Join(mounted, MetaFile), []byte(`{"alloc_dir":"/gone"}`), 0o600))
	must.NoError(t, unix.Mount(mounted, dir, "", unix.MS_BIND, ""))
	defer func() { must.NoError(t, unix.Unmount(dir, 0)) }()
	removed, err := Sweep(root)
	must.NoError(t, err)
	must.Eq(t, 0, removed)
	must.FileExists(t, filepath.Join(mounted, MetaFile))
}
