package driver_test

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

func tarDir(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}
}

func tarFile(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}
}

func tarLink(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

// TestStart_ImageMistakes checks that both runtimes report the same final line about an image or a
// job that cannot run, without paths of the host or ids of containers.
func TestStart_ImageMistakes(t *testing.T) {
	readonly := t.TempDir()
	cases := map[string]struct {
		layer  []tar.Header
		config func(*v1.Config)
		task   driver.TaskConfig
		want   string
	}{
		"directory of the program": {[]tar.Header{tarDir("opt", 0o700), tarFile("opt/x", 0o755)}, func(c *v1.Config) { c.Entrypoint = []string{"/opt/x"} },
			driver.TaskConfig{}, `command "/opt/x": permission denied for user 1234; /opt is 0700 (image `},
		"directory in PATH": {[]tar.Header{tarDir("opt", 0o700), tarFile("opt/x", 0o755)}, func(c *v1.Config) { c.Entrypoint, c.Env = []string{"x"}, []string{"PATH=/opt"} },
			driver.TaskConfig{}, `command "/opt/x": permission denied for user 1234; /opt is 0700 (image `},
		"root without capabilities": {[]tar.Header{{Name: "opt", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 5}, tarFile("opt/x", 0o755)},
			func(c *v1.Config) { c.Entrypoint, c.User = []string{"/opt/x"}, "" }, driver.TaskConfig{CapDrop: []string{"all"}},
			`command "/opt/x": permission denied for user 0; /opt is 0700 (image `},
		"mode of the program": {[]tar.Header{tarFile("x", 0o700)}, func(c *v1.Config) { c.Entrypoint = []string{"/x"} },
			driver.TaskConfig{}, `command "/x": permission denied for user 1234:0; its mode is 0700: make it executable, or set the task's user (image `},
		"loop": {[]tar.Header{tarLink("a", "b"), tarLink("b", "a")}, func(c *v1.Config) { c.Entrypoint = []string{"/a"} },
			driver.TaskConfig{}, `command "/a" leads through too many symbolic links (image `},
		"relative PATH": {nil, func(c *v1.Config) { c.Entrypoint, c.Env = []string{"init"}, []string{"PATH=.:/bin"} },
			driver.TaskConfig{}, `command "init" is only in the relative entry "." of PATH; write its absolute path, or "./init" (image `},
		"empty command": {nil, func(c *v1.Config) { c.Entrypoint, c.Cmd = nil, []string{"", "/init"} },
			driver.TaskConfig{}, `no command, or an empty one: set "command" or "entrypoint" (image `},
		"WORKDIR below a file": {[]tar.Header{tarFile("etc/passwd", 0o644)}, func(c *v1.Config) { c.WorkingDir, c.User = "/etc/passwd/x", "0" },
			driver.TaskConfig{}, `work_dir "/etc/passwd/x": /etc/passwd is not a directory (image `},
		"work_dir is a file": {[]tar.Header{tarFile("data", 0o644)}, nil,
			driver.TaskConfig{WorkDir: "/nope/../data"}, `work_dir "/data" is not a directory (image `},
		"work_dir of a process": {nil, nil,
			driver.TaskConfig{WorkDir: "/proc/self/fd/7"}, `work_dir "/proc/self/fd/7" belongs to a process, and to no task; use another directory (image `},
		"WORKDIR links to a process": {[]tar.Header{tarLink("data", "../proc/self")}, func(c *v1.Config) { c.WorkingDir = "/data/fd/7" },
			driver.TaskConfig{}, `work_dir "/data/fd/7" belongs to a process`},
		"WORKDIR is a loop": {[]tar.Header{tarLink("a", "a")}, func(c *v1.Config) { c.WorkingDir = "/a/x" },
			driver.TaskConfig{}, `work_dir "/a/x" leads through too many symbolic links (image `},
		"work_dir in a read-only mount": {nil, nil, driver.TaskConfig{Volumes: []string{readonly + ":/x:ro"}, WorkDir: "/x/new"},
			`work_dir "/x/new" does not exist, and the mount at /x is read-only (image `},
		"VOLUME is a file": {[]tar.Header{tarFile("data", 0o644)}, func(c *v1.Config) { c.Volumes = map[string]struct{}{"/data": {}} },
			driver.TaskConfig{}, `VOLUME "/data": the image has a file there, or in place of a parent directory (image `},
		"VOLUME below a file": {[]tar.Header{tarFile("data", 0o644)}, func(c *v1.Config) { c.Volumes = map[string]struct{}{"/data/x/y": {}} },
			driver.TaskConfig{}, `VOLUME "/data/x/y": the image has a file there`},
		"VOLUME is a loop": {[]tar.Header{tarLink("a", "a")}, func(c *v1.Config) { c.Volumes = map[string]struct{}{"/a": {}} },
			driver.TaskConfig{}, `VOLUME "/a" leads through too many symbolic links (image `},
		"read-only etc": {nil, nil, driver.TaskConfig{Volumes: []string{readonly + ":/etc:ro"}},
			`the mount at /etc is read-only and has no host`},
		"NUL in CMD": {nil, func(c *v1.Config) { c.Cmd = []string{"\x00"} }, driver.TaskConfig{}, `CMD: entry 0 contains a NUL byte`},
		"NUL in ENV": {nil, func(c *v1.Config) { c.Env = []string{"A=canary\x00"} }, driver.TaskConfig{}, `ENV: variable "A" contains a NUL byte`},
	}
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				image := testimage.New(t)
				if tc.config != nil {
					image = testimage.New(t, tc.config)
				}
				tc.task.Image = testimage.Layout(t, filepath.Join(t.TempDir(), "image"), withLayer(t, image, tc.layer...))
				tk := n.newTask("", "app", tc.task, quiet)
				_, _, err := n.StartTask(tk.TaskConfig)
				must.ErrorContains(t, err, tc.want)
				must.False(t, structs.IsRecoverable(err), must.Sprint(err))
				for _, unwanted := range []string{"canary", "conmon", "invalid task", tk.AllocID, n.config.DataDir, n.config.RunDir} {
					must.StrNotContains(t, err.Error(), unwanted)
				}
			})
		}
	})
}

// TestStart_WorkDirBehindDeadLink checks that a working directory behind a dangling symlink is
// created inside the root.
func TestStart_WorkDirBehindDeadLink(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, link := range map[string]string{"absolute": "/data/real", "outside": "../../../../../../data/real"} {
			t.Run(name, func(t *testing.T) {
				image := testimage.New(t, func(c *v1.Config) { c.WorkingDir, c.Cmd = "/srv/app", []string{"-P"} })
				tk := n.newTask("", "app", driver.TaskConfig{
					Image: testimage.Layout(t, filepath.Join(t.TempDir(), "image"), withLayer(t, image, tarLink("srv", link))),
				}, quiet)
				tk.start()
				status, err := n.InspectTask(tk.ID)
				must.NoError(t, err)
				process := filepath.Join("/proc", status.DriverAttributes["pid"])
				at, err := os.Readlink(filepath.Join(process, "cwd"))
				must.NoError(t, err)
				must.Eq(t, "/data/real/app", at)
				must.DirExists(t, filepath.Join(process, "root/data/real/app"))
			})
		}
	})
}

// TestStart_SourceBecameLink checks that a source that a task replaced is refused by name.
func TestStart_SourceBecameLink(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for key, config := range map[string]driver.TaskConfig{
			"volumes": {Command: "true", Volumes: []string{"local/lnk/x:/x"}},
			"mount":   {Command: "true", Mounts: []driver.MountConfig{{Type: "bind", Source: "local/lnk", Target: "/x"}}},
		} {
			tk := n.newTask("", "app", config, quiet)
			must.NoError(t, os.Symlink("/etc", filepath.Join(tk.TaskDir().LocalDir, "lnk")))
			_, _, err := n.StartTask(tk.TaskConfig)
			must.ErrorContains(t, err, key+`: mount at /x: source "local/lnk`)
			must.False(t, structs.IsRecoverable(err))
			must.StrNotContains(t, err.Error(), tk.TaskDir().Dir)
		}
	})
}
