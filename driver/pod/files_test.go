package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

func TestImageVolumes(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must.NoError(t, os.Symlink(outside, filepath.Join(dir, "escape")))
	root := rootfs{hostPath: dir, config: image.ImageConfig{Volumes: []string{"/", "/data/deep", "/escape/x", "/own", "/shared", "rel"}}}
	task := Task{Mounts: []ocispec.Mount{{Target: "/own/"}}, Volumes: []Volume{{Name: "v", Target: "/shared"}}}

	mounts, err := imageVolumes(task, root)
	must.NoError(t, err)
	must.SliceEmpty(t, mounts, must.Sprint("writable root"))
	must.DirExists(t, filepath.Join(dir, "data/deep"))
	must.DirExists(t, filepath.Join(dir, "rel"))
	must.DirNotExists(t, filepath.Join(dir, "own"))
	must.DirNotExists(t, filepath.Join(dir, "shared"))
	must.DirNotExists(t, filepath.Join(outside, "x"), must.Sprint("directory outside of the image"))

	task.ReadonlyRoot = true
	mounts, err = imageVolumes(task, root)
	must.NoError(t, err)
	must.SliceLen(t, 3, mounts)
	must.Eq(t, ocispec.Bind(filepath.Join(dir, "data/deep"), "/data/deep", false), mounts[0])
}

func TestMounts_OuterFirst(t *testing.T) {
	var got []string
	for _, m := range outerFirst([]ocispec.Mount{{Target: "/a/b/c"}, {Target: "/a/b/"}, {Target: "/z"}, {Target: "/a"}, {Target: "/z"}}) {
		got = append(got, m.Target)
	}
	must.Eq(t, []string{"/z", "/a", "/z", "/a/b/", "/a/b/c"}, got)
}

// Labels are not written as annotations, since runtimes interpret some annotations.
func TestLabels_NotAnnotations(t *testing.T) {
	got := annotations(Task{AllocID: alloc, Name: "web", Labels: map[string]string{"both": "task"}},
		map[string]string{"run.oci.handler": "krun", "both": "image"})
	must.Eq(t, map[string]string{
		"org.nomadproject.alloc_id": alloc, "org.nomadproject.task": "web",
		"org.nomadproject.label.run.oci.handler": "krun", "org.nomadproject.label.both": "task",
	}, got)
}

// Trap D5, CVE-2026-14896.
func TestMakeBeneath_SymlinkInPath(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	must.NoError(t, makeBeneath(dir, "a/b"))
	must.NoError(t, makeBeneath(dir, "a/b/c"))
	must.DirExists(t, filepath.Join(dir, "a/b/c"))
	must.ErrorIs(t, makeBeneath(dir, "link/x"), unix.ELOOP)
	must.ErrorIs(t, makeBeneath(dir, "file/x"), unix.ENOTDIR)
	must.Error(t, makeBeneath(dir, "../x"))
	must.DirNotExists(t, filepath.Join(outside, "x"))
}

// Trap D5: a symlink that replaces a directory while subdirectories are created in it is not
// followed.
func TestMakeBeneath_SwappedForSymlink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	at, link := filepath.Join(dir, "at"), filepath.Join(dir, "link")
	must.NoError(t, os.Mkdir(at, 0o755))
	must.NoError(t, os.Symlink(outside, link))
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	})
	for i := range 3000 {
		_ = makeBeneath(dir, fmt.Sprintf("at/%d", i)) // fails while it is the symlink
	}
	close(stop)
	swapper.Wait()
	made, err := os.ReadDir(outside)
	must.NoError(t, err)
	must.SliceEmpty(t, made)
}

func TestHostDevices(t *testing.T) {
	all, err := hostDevices("/dev")
	must.NoError(t, err)
	for _, own := range []string{"/dev/null", "/dev/console", "/dev/ptmx", "/dev/pts/ptmx", "/dev/shm"} {
		must.False(t, slices.ContainsFunc(all, func(d Device) bool { return d.HostPath == own }), must.Sprint(own))
	}
	nodes, rules, err := devices([]Device{{HostPath: "/dev/null", TaskPath: "/dev/x", Permissions: "r"}})
	must.NoError(t, err)
	must.Eq(t, "/dev/x", nodes[0].Path)
	must.Eq(t, "r", rules[0].Access)
	_, _, err = devices([]Device{{HostPath: "/etc/passwd"}})
	must.ErrorIs(t, err, ErrInvalid)
}
