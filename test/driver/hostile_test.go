package driver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// Attacks of a task with root on its client and on other tasks.

// attempt runs scripts in the task. The test fails if one succeeds.
func (tk *task) attempt(scripts ...string) {
	tk.n.t.Helper()
	var all strings.Builder
	for i, script := range scripts {
		fmt.Fprintf(&all, "(%s) >/dev/null 2>&1 && echo %d\n", script, i)
	}
	for _, done := range strings.Fields(tk.exec(all.String() + "true")) {
		i, err := strconv.Atoi(done)
		must.NoError(tk.n.t, err)
		tk.n.t.Errorf("command succeeded in the task: %s", scripts[i])
	}
}

// Trap D4: the logs are read-only, even if the task mounts the allocation's directory again.
func TestLogs_ReadOnlyByEveryPath(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Volumes.Enabled = runtime, true })
		tk := n.newTask("", "writer", driver.TaskConfig{}, quietRoot)
		config := sh("exec sleep 600")
		config.Volumes = []string{"../alloc:/again", "../alloc/logs:/logs", tk.TaskDir().LogDir + ":/absolute", "../alloc/./tmp/../logs:/round"}
		must.NoError(t, tk.EncodeConcreteDriverConfig(&config))
		tk.start()
		var tries []string
		for _, dir := range []string{"/alloc/logs", "/again/logs", "/logs", "/absolute", "/round"} {
			for _, try := range []string{
				"echo x > %s/new", "mkdir %s/writer.stdout.1", "mkfifo %s/writer.stdout.2",
				"ln -s /etc/passwd %s/writer.stdout.3", "mount -o remount,rw,bind %s", "umount %s",
				"mv %[1]s %[1]s.moved", "rmdir %s",
			} {
				tries = append(tries, fmt.Sprintf(try, dir))
			}
		}
		tk.attempt(tries...)
		tk.exec("touch /alloc/data/yes /again/data/yes")
	})
}

// Trap D4: a task of another driver that can write to the log directory cannot make the collector
// write elsewhere, and blocks only itself.
func TestLogs_HostileLogDirectory(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	for name, put := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink(victim, path) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o666) },
		"directory": func(path string) error { return os.Mkdir(path, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			withRuntimes(t, func(t *testing.T, runtime string) {
				n := collecting(t, runtime)
				other := n.startBystander()
				events := n.watchEvents()
				must.NoError(t, os.WriteFile(victim, []byte("intact"), 0o600))
				config := sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); echo line $i; done") // 1.2 MB
				config.Logs = &driver.LogsConfig{MaxFiles: 3, MaxFileSizeMB: 1}
				tk := n.newTask("", "talker", config, withoutCollector)
				trap := filepath.Join(tk.TaskDir().LogDir, "talker.stdout.1")
				must.NoError(t, put(trap))
				reader := listen(t, trap)
				_, _, err := n.StartTask(tk.TaskConfig)
				must.ErrorContains(t, err, trap)
				must.NoError(t, os.Rename(trap, trap+".away"))
				tk.start()
				must.NoError(t, os.Rename(trap+".away", trap)) // the collector opens it when the first file is full
				n.waitFor("the event", func() bool { return strings.Contains(events(), "talker: output for talker.stdout is blocked: ") })
				other.checkUnharmed()
				must.NoError(t, os.Remove(trap))
				must.Eq(t, 0, tk.wait().ExitCode)
				must.StrHasSuffix(t, "line 100000\n", tk.logged("stdout"))
				must.Eq(t, 100000, strings.Count(tk.logged("stdout"), "\n"))
				must.Eq(t, "", reader())
				text, err := os.ReadFile(victim)
				must.NoError(t, err)
				must.Eq(t, "intact", string(text))
			})
		})
	}
}

// listen opens path if it is a FIFO, and returns a function that reads the data written to it.
func listen(t *testing.T, path string) (all func() string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() string { return "" }
	}
	t.Cleanup(func() { must.NoError(t, unix.Close(fd)) })
	return func() string {
		b := make([]byte, 100)
		n, _ := unix.Read(fd, b)
		return string(b[:max(n, 0)])
	}
}

// Trap D5: a directory that another task replaces by a symlink is not followed, whether it is
// replaced before the check or between the check and the mount.
func TestStart_DirectorySwappedForSymlink(t *testing.T) {
	victim := t.TempDir()
	must.NoError(t, os.WriteFile(filepath.Join(victim, "file"), []byte("secret\n"), 0o644))
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		swapper := n.newTask(alloc, "swapper", sh("exec sleep 600"), quietRoot)
		swapper.start()
		swapper.exec("mkdir -p /alloc/data/dir && echo own > /alloc/data/dir/file")
		config := sh("cat /conf/file; exec sleep 600")
		config.Volumes = []string{"../alloc/data/dir:/conf", "../alloc/data/dir/file:/one"}
		swap := fmt.Sprintf("mv %[1]s/dir %[1]s/was && ln -s %[2]s %[1]s/dir", filepath.Join(swapper.TaskDir().SharedAllocDir, "data"), victim)

		wrapper, err := os.ReadFile(n.programs.runtime)
		must.NoError(t, err)
		script := "case \" $* \" in *\" create \"*) [ -L " + swapper.TaskDir().SharedAllocDir + "/data/dir ] || {\n" + swap + "\n};; esac\n"
		must.NoError(t, os.WriteFile(n.programs.runtime, []byte(strings.Replace(string(wrapper), "\n", "\n"+script, 1)), 0o755))
		late := n.newTask(alloc, "late", config, nil)
		late.start()
		must.Eq(t, "own\n", late.output("stdout", contains("\n")))
		must.Eq(t, "own\n", late.exec("cat /one"))
		must.Eq(t, "link\n", swapper.exec("[ -L /alloc/data/dir ] && echo link"))

		early := n.newTask(alloc, "early", config, quiet)
		must.ErrorContains(t, n.startError(early), "mount at /conf")
		must.ErrorContains(t, n.startError(early), "symbolic link")
	})
}

// Trap D6: nothing that a job can write leads to another allocation.
func TestStart_PathsOfOtherAllocations(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		volume := func(c driver.TaskConfig, name string) driver.TaskConfig {
			c.PodVolumes = map[string]driver.VolumeConfig{name: {Target: "/shared"}}
			return c
		}
		owner := n.newTask("", "owner", volume(sh("exec sleep 987001"), "data"), quietRoot)
		owner.start()
		owner.exec("echo secret | tee /shared/file /dev/shm/file /alloc/file > /local/file; hostname > /alloc/name")
		pod := filepath.Join(n.config.RunDir, "pods", owner.AllocID)

		for _, name := range []string{"..", "../../" + owner.AllocID + "/volumes/data", "a/b", "", ".", "/", owner.AllocID + "/data", "data\x00x"} {
			must.ErrorContains(t, n.startError(n.newTask("", "sneak", volume(sh("exit 0"), name), quiet)), "pod_volume", must.Sprint(name))
		}
		for _, source := range []string{
			"../../" + owner.AllocID + "/alloc", "../alloc/../../" + owner.AllocID, "local/../../../" + owner.AllocID, "..", ".", "../owner/local",
			"../owner/secrets", "private", "../", owner.TaskDir().SharedAllocDir, pod, pod + "/ns/ipc", n.config.RunDir, "/", "/proc/1/root",
		} {
			config := sh("exit 0")
			config.Volumes = []string{source + ":/there"}
			must.ErrorContains(t, n.startError(n.newTask("", "sneak", config, quiet)), "volumes:", must.Sprint(source))
			config.Volumes, config.Mounts = nil, []driver.MountConfig{{Type: "bind", Source: source, Target: "/there"}}
			must.ErrorContains(t, n.startError(n.newTask("", "sneak", config, quiet)), "mount at", must.Sprint(source))
		}
		for _, share := range []string{owner.AllocID, "../" + owner.AllocID, "ipc:" + owner.AllocID, "net", "mnt", "user"} {
			config := sh("exit 0")
			config.Share = []string{share}
			must.ErrorContains(t, n.startError(n.newTask("", "sneak", config, quiet)), "share", must.Sprint(share))
		}
		must.ErrorContains(t, n.startError(n.named("../"+owner.AllocID+".owner")), "task name")
		n.checkIsolatedFrom(owner, volume(sh("exec sleep 600"), "data"))
	})
}

// named returns a task with a name that Nomad would reject.
func (n *node) named(name string) *task {
	tk := n.newTask("", "named", sh("exit 0"), quiet)
	tk.Name = name
	return tk
}

// checkIsolatedFrom starts a task with the same names in another allocation, which must not have
// access to owner.
func (n *node) checkIsolatedFrom(owner *task, config driver.TaskConfig) {
	n.t.Helper()
	stranger := n.newTask("", "owner", config, quietRoot)
	stranger.start()
	for _, file := range []string{"/shared/file", "/dev/shm/file", "/alloc/file", "/local/file"} {
		stranger.attempt("cat " + file)
	}
	must.StrNotContains(n.t, stranger.exec("cat /proc/self/mountinfo"), owner.AllocID)
	must.StrContains(n.t, owner.exec("ps -eo args"), "sleep 987001")
	must.StrNotContains(n.t, stranger.exec("ps -eo args"), "sleep 987001")
	for _, kind := range []string{"ipc", "uts", "pid", "mnt"} {
		link := "readlink /proc/self/ns/" + kind
		must.NotEq(n.t, owner.exec(link), stranger.exec(link), must.Sprint(kind))
	}
}
