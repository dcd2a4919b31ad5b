package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// Tasks on a host with a full or read-only disk.

// smallDisk mounts a file system of 12 MiB and 2000 inodes.
func smallDisk(t *testing.T) string {
	t.Helper()
	at := t.TempDir()
	must.NoError(t, unix.Mount("tmpfs", at, "tmpfs", 0, "size=12m,nr_inodes=2000,mode=755"))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(at, 0)) })
	return at
}

// fillBytes uses up the space of the file system of a directory.
func fillBytes(t *testing.T, dir string) (restore func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	must.NoError(t, err)
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	must.ErrorIs(t, err, unix.ENOSPC)
	must.NoError(t, f.Close())
	return func() { must.NoError(t, os.Remove(path)) }
}

// fillInodes uses up the inodes of the file system of a directory.
func fillInodes(t *testing.T, dir string) (restore func()) {
	t.Helper()
	dir = filepath.Join(dir, "fillers")
	must.NoError(t, os.Mkdir(dir, 0o700))
	var err error
	for i := 0; err == nil; i++ {
		err = unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o600, 0)
	}
	must.ErrorIs(t, err, unix.ENOSPC)
	return func() { must.NoError(t, os.RemoveAll(dir)) }
}

// sealDisk makes a file system read-only, even if files on it are open.
func sealDisk(t *testing.T, dir string) (restore func()) {
	t.Helper()
	// The kernel refuses to while a process writes, such as a starting monitor.
	must.Wait(t, wait.InitialSuccess(wait.ErrorFunc(func() error {
		return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}), wait.Timeout(maxWait), wait.Gap(5*time.Millisecond)))
	return func() { must.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, "")) }
}

// TestStart_DiskFull checks that a start on a full disk fails with the path in its error, leaves
// nothing behind and succeeds once there is space, and that other tasks continue and can be
// stopped.
func TestStart_DiskFull(t *testing.T) {
	small := testimage.Layout(t, t.TempDir(), scratch(t))
	large := testimage.Layout(t, t.TempDir(), withRandomLayer(t, scratch(t), 64<<20))
	const noSpace, noWrite = "no space left on device", "read-only file system"
	plain := sh("exit 0")
	for name, tc := range map[string]struct {
		damage func(t *testing.T, dir string) func()
		run    bool // the disk holds run_dir, otherwise data_dir
		config driver.TaskConfig
		want   string
		fixed  *driver.TaskConfig
	}{
		"data_dir full for an image":      {damage: fillBytes, config: driver.TaskConfig{Image: small}, want: noSpace},
		"data_dir too small for an image": {damage: func(*testing.T, string) func() { return func() {} }, config: driver.TaskConfig{Image: large}, want: noSpace, fixed: &driver.TaskConfig{Image: small}},
		"data_dir without inodes":         {damage: fillInodes, config: plain, want: noSpace},
		"data_dir read-only":              {damage: sealDisk, config: plain, want: noWrite},
		"data_dir read-only for an image": {damage: sealDisk, config: driver.TaskConfig{Image: small}, want: noWrite},
		"run_dir full":                    {damage: fillBytes, run: true, config: plain, want: noSpace},
		"run_dir without inodes":          {damage: fillInodes, run: true, config: plain, want: noSpace},
		"run_dir read-only":               {damage: sealDisk, run: true, config: plain, want: noWrite},
	} {
		t.Run(name, func(t *testing.T) {
			withOneRuntime(t, func(t *testing.T, runtime string) {
				disk := smallDisk(t)
				n := newNode(t, func(c *driver.PluginConfig) {
					c.Runtime, c.DataDir = runtime, filepath.Join(disk, "data")
					if tc.run {
						c.DataDir, c.RunDir = filepath.Join(t.TempDir(), "data"), filepath.Join(disk, "run")
					}
				})
				other, leaver := n.startBystander(), n.newTask("", "leaver", sh("exec sleep 600"), quiet)
				leaver.start()
				restore := tc.damage(t, disk)
				tk := n.newTask("", "hapless", tc.config, quiet)
				err := n.startError(tk)
				must.ErrorContains(t, err, tc.want)
				other.checkUnharmed()
				must.NoError(t, n.StopTask(leaver.ID, 0, "SIGKILL"))
				must.NotNil(t, leaver.wait())
				restore()
				if tc.fixed == nil {
					tc.fixed = &tc.config
				}
				must.NoError(t, tk.EncodeConcreteDriverConfig(tc.fixed))
				tk.start() // with the same task ID
				must.Eq(t, 0, tk.wait().ExitCode)
				other.checkUnharmed()
			})
		})
	}
}

// Trap D11: if run_dir is full when a task ends, the exit code comes from the kernel; if the kernel
// does not report it, the result contains the reason.
func TestExit_StatusNotWritable(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		disk := smallDisk(t)
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.RunDir = runtime, filepath.Join(disk, "run") })
		tk := n.newTask("", "ends", sh("until [ -e /alloc/go ]; do sleep 0.01; done; exit 7"), quiet)
		tk.start()
		restore := fillBytes(t, disk)
		must.NoError(t, os.WriteFile(filepath.Join(tk.TaskDir().SharedAllocDir, "go"), nil, 0o644))
		result := tk.wait()
		if result.Err != nil {
			must.ErrorContains(t, result.Err, "no space left on device")
		} else {
			must.Eq(t, 7, result.ExitCode)
			must.Eq(t, 0, result.Signal)
		}
		restore()
		n.checkStarts(sh("exit 0"))
	})
}

// TestStart_EndlessUserFiles checks that huge passwd and group files do not exhaust the plugin's
// memory.
func TestStart_EndlessUserFiles(t *testing.T) {
	for name, img := range map[string]v1.Image{
		"group":  withFile(t, scratch(t), "etc/group", 17<<20),
		"passwd": withFile(t, scratch(t), "etc/passwd", 17<<20),
	} {
		reference := testimage.Layout(t, t.TempDir(), img)
		withOneRuntime(t, func(t *testing.T, runtime string) {
			n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
			other := n.startBystander()
			err := n.startError(n.newTask("", "endless", driver.TaskConfig{Image: reference}, quiet))
			must.ErrorContains(t, err, "/etc/"+name+" in the task's root is not a regular file of at most")
			other.checkUnharmed()
		})
	}
}
