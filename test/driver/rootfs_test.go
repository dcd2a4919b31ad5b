package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// overlay mounts an overlay with all its directories below dir, or returns why it cannot.
func overlay(t *testing.T, dir string) (at string, err error) {
	t.Helper()
	for _, part := range []string{"lower", "upper", "work", "merged"} {
		must.NoError(t, os.MkdirAll(filepath.Join(dir, part), 0o755))
	}
	at = filepath.Join(dir, "merged")
	options := strings.NewReplacer("DIR", dir).Replace("lowerdir=DIR/lower,upperdir=DIR/upper,workdir=DIR/work,volatile")
	if err = unix.Mount("overlay", at, "overlay", 0, options); err == nil {
		t.Cleanup(func() { must.NoError(t, unix.Unmount(at, unix.MNT_DETACH)) })
	}
	return at, err
}

// TestHostRoot_FileSystems checks that the root of a task without an image has the same content on
// every file system, with and without an overlay.
func TestHostRoot_FileSystems(t *testing.T) {
	for name, tc := range map[string]struct {
		dir     func(t *testing.T) string
		overlay bool
	}{
		"an overlay": {func(t *testing.T) string {
			dir := t.TempDir()
			if _, err := overlay(t, filepath.Join(dir, "try")); err != nil {
				t.Skipf("%s does not support overlays: %v", dir, err)
			}
			return filepath.Join(dir, "data")
		}, true},
		"a path that cannot be an option": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "data,with:signs") }, false},
		"on a file system that can not have one": {func(t *testing.T) string {
			dir := t.TempDir()
			at, err := overlay(t, dir)
			if err != nil {
				return filepath.Join(dir, "data") // which does not support overlays either
			}
			return filepath.Join(at, "data")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				dir := tc.dir(t)
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.DataDir = runtime, dir })
				for range 2 {
					n.checkOwnRoot(tc.overlay)
				}
			})
		})
	}
}

// inodesPerRoot is the number of inodes of an overlay on the disk: the root's directory, upper,
// work, and four that the kernel creates in work.
const inodesPerRoot = 7

func (n *node) checkOwnRoot(isOverlay bool) {
	n.t.Helper()
	tk := n.newTask("", "app", sh(`cd / && echo * && stat -c '%n %a' / /etc /root /run /tmp /var /var/tmp &&
		for f in /mine /etc/mine /tmp/mine /var/tmp/mine; do echo x > $f || echo "no $f"; done
		echo x 2>/dev/null > /usr/mine && echo "wrote to /usr"
		rm -r /var /mine && mv /etc/mine /etc/yours && mkdir -p /var/lib && echo done && exec sleep 600`), func(c *drivers.TaskConfig) { c.User = "root" })
	tk.start()
	out := tk.output("stdout", contains("done\n"))
	must.StrHasPrefix(n.t, "alloc bin dev etc ", out)
	must.StrContains(n.t, out, "\n/ 755\n/etc 755\n/root 700\n/run 755\n/tmp 1777\n/var 755\n/var/tmp 1777\ndone\n")
	for _, m := range mountPoints(n.t) {
		must.StrNotHasSuffix(n.t, "/root", m, must.Sprint("root is mounted on the host"))
	}
	if isOverlay {
		inodes := 0
		other := n.newTask("", "other", sh("exec sleep 600"), quiet)
		other.start()
		roots, err := filepath.Glob(filepath.Join(n.config.DataDir, "roots", other.AllocID+".*"))
		must.NoError(n.t, err)
		must.Len(n.t, 1, roots)
		must.NoError(n.t, filepath.WalkDir(roots[0], func(string, os.DirEntry, error) error {
			inodes++
			return nil
		}))
		must.LessEq(n.t, inodesPerRoot, inodes)
	}
}

// TestRoot_Writable checks that on a disk with few inodes a task either gets a writable root or
// fails: the kernel would otherwise mount the overlay read-only.
func TestRoot_Writable(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		started := 0
		for inodes := range 9 {
			dir := t.TempDir()
			must.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("nr_inodes=%d", 4+inodes))) // 0 is no limit
			t.Cleanup(func() { must.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
			t.Run(fmt.Sprint(inodes), func(t *testing.T) {
				n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.DataDir = runtime, dir })
				tk := n.newTask("", "app", sh("exec sleep 600"), quietRoot)
				if _, _, err := n.StartTask(tk.TaskConfig); err != nil {
					must.ErrorContains(t, err, "no space left on device")
					return
				}
				started++
				must.StrHasPrefix(t, "rw,", tk.exec(`awk '$2 == "/" { print $4 }' /proc/mounts`))
				must.NoError(t, n.DestroyTask(tk.ID, true))
			})
		}
		must.Between(t, 1, started, 8, must.Sprint("started tasks"))
	})
}

// TestHostRoot_StaysWithItsTasks checks that a host root stays while a task uses it, even if an
// earlier driver created it.
func TestHostRoot_StaysWithItsTasks(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", "app", sh("exec sleep 600"), quietRoot)
		handle, _, err := n.StartTask(tk.TaskConfig)
		must.NoError(t, err)
		n.abandon()
		n.config.HostPaths = append([]string{"/etc/hostname:/etc/more"}, "/bin", "/lib", "/lib64", "/usr")
		n.start()
		must.NoError(t, n.RecoverTask(handle))
		n.checkStarts(sh("exit 0"))
		entries, err := os.ReadDir(filepath.Join(n.config.RunDir, "skeletons"))
		must.NoError(t, err)
		must.Len(t, 2, entries, must.Sprint("one of the running task, one of later tasks"))
		must.Eq(t, "/var/tmp\n", tk.exec("cd /var && ls -d $PWD/*"))
		must.NoError(t, n.DestroyTask(tk.ID, true))
	})
}
