package driver_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
)

// indexing starts a driver with a log index and metrics.
func indexing(t *testing.T, runtime, index string) *node {
	t.Helper()
	return newNode(t, func(c *driver.PluginConfig) {
		c.Runtime, c.LogCollector, c.LogIndex, c.LogIndexMeta = runtime, "pod", index, []string{"team", "cost-center"}
		c.Metrics.Address = "unix:" + filepath.Dir(c.RunDir) + "/metrics.sock"
	})
}

// identified changes a task as if Nomad had passed it with these IDs.
func identified(c *drivers.TaskConfig) {
	withoutCollector(c)
	c.Namespace, c.JobID, c.TaskGroupName, c.NodeID, c.NodeName = "default", "etl/dispatch-1_2", "..", "node-1", "one"
	c.Env["NOMAD_META_team"], c.Env["NOMAD_META_cost_center"], c.Env["NOMAD_META_other"] = "blue", "42", "no"
}

// indexDir returns the directory of a task in the index.
func (tk *task) indexDir() string {
	id := logs.Identity{Namespace: tk.Namespace, Job: tk.JobID, Group: tk.TaskGroupName, Task: tk.Name, AllocID: tk.AllocID}
	return filepath.Join(tk.n.config.LogIndex, id.PodName(), id.TaskName())
}

// indexed returns the content of a task's files, read through the index, and their number.
func (tk *task) indexed(stream string) (text string, files int) {
	tk.n.t.Helper()
	var all strings.Builder
	for i := 0; ; i++ {
		b, err := os.ReadFile(filepath.Join(tk.indexDir(), fmt.Sprintf("%s.%d", stream, i)))
		if os.IsNotExist(err) {
			return all.String(), i
		}
		must.NoError(tk.n.t, err)
		all.Write(b)
	}
}

// logSize returns the size of a task's files of standard output.
func (tk *task) logSize() (size int64) {
	tk.n.t.Helper()
	files, err := filepath.Glob(filepath.Join(tk.TaskDir().LogDir, tk.Name+".stdout.*"))
	must.NoError(tk.n.t, err)
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			size += info.Size()
		}
	}
	return size
}

// numbered returns a script that prints the lines 1 to rounds × perRound as fast as it can, with a
// short break after each round.
func numbered(rounds, perRound int) string {
	return fmt.Sprintf("i=0; while [ $i -lt %d ]; do seq $((i*%d+1)) $(((i+1)*%d)); i=$((i+1)); sleep 0.02; done", rounds, perRound, perRound)
}

func checkNumbered(t *testing.T, text string, count int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	must.Eq(t, count, len(lines))
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

// TestLogIndex_Killed checks that the index and Nomad's files have each line once if the files
// rotate at full speed while collector and plugin are killed at random.
func TestLogIndex_Killed(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		const rounds, perRound = 40, 100_000 // 31 MB
		n := indexing(t, runtime, filepath.Join(t.TempDir(), "index"))
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		config := sh(numbered(rounds, perRound))
		config.Logs = &driver.LogsConfig{MaxFiles: 100, MaxFileSizeMB: 1}
		tk := n.newTask("", "fast", config, identified)
		handle := tk.start()
		last := filepath.Join(tk.TaskDir().LogDir, "fast.stdout.20")
		for kill := 0; ; kill++ {
			size := rand.Int64N(2 << 20)
			before := tk.logSize()
			n.waitFor("the log to grow", func() bool {
				_, err := os.Stat(last)
				return err == nil || tk.logSize() > before+size
			})
			if _, err := os.Stat(last); err == nil {
				must.Positive(t, kill)
				break
			}
			for _, pid := range n.collectors() {
				_ = unix.Kill(pid, unix.SIGKILL) // it may have been replaced
			}
			if kill%3 == 2 {
				n.abandon()
				n.start()
				must.NoError(t, n.RecoverTask(handle))
				must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
			}
		}
		must.Eq(t, 0, tk.wait().ExitCode)
		text, files := tk.indexed("stdout")
		checkNumbered(t, text, rounds*perRound)
		must.Greater(t, 25, files)
		must.Eq(t, text, tk.logged("stdout"))
		must.Eq(t, "0", n.metrics()["log_index_dropped_total"])
	})
}

// TestLogIndex_Identity checks the names and meta.json of a job's task, and that the kind of links
// is in the fingerprint.
func TestLogIndex_Identity(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		for kind, index := range map[string]string{"hard": filepath.Join(t.TempDir(), "index"), "symbolic": mountTmpfs(t, "size=1m") + "/index"} {
			t.Run(kind, func(t *testing.T) {
				n := indexing(t, runtime, index)
				fp := n.fingerprint()
				must.Eq(t, drivers.HealthStateHealthy, fp.Health, must.Sprint(fp.HealthDescription))
				must.MapNotContainsKey(t, fp.Attributes, "driver.pod.log_index.links")
				tk := n.newTask("", "web", sh("echo out; echo err >&2"), identified)
				tk.start()
				must.Eq(t, 0, tk.wait().ExitCode)
				dir := filepath.Join(index, "default_etl%2Fdispatch-1%5F2_%2E._"+tk.AllocID, "web")
				for name, want := range map[string]string{"stdout.0": "out\n", "stderr.0": "err\n"} {
					text, err := os.ReadFile(filepath.Join(dir, name))
					must.NoError(t, err)
					must.Eq(t, want, string(text))
					info, err := os.Lstat(filepath.Join(dir, name))
					must.NoError(t, err)
					must.Eq(t, kind == "symbolic", info.Mode()&os.ModeSymlink != 0)
				}
				text, err := os.ReadFile(filepath.Join(dir, "meta.json"))
				must.NoError(t, err)
				var got map[string]any
				must.NoError(t, json.Unmarshal(text, &got))
				must.Eq(t, map[string]any{
					"namespace": "default", "job": "etl/dispatch-1_2", "group": "..", "task": "web", "alloc_id": tk.AllocID,
					"node_id": "node-1", "node": "one", "alloc_dir": tk.AllocDir,
					"meta": map[string]any{"team": "blue", "cost-center": "42"},
				}, got)
				fp = n.fingerprint()
				must.Eq(t, kind, *fp.Attributes["driver.pod.log_index.links"].String)
				must.Eq(t, index, *fp.Attributes["driver.pod.log_index"].String)
				must.Eq(t, kind == "symbolic", strings.Contains(fp.HealthDescription, "symbolic links"))
			})
		}
	})
}

// mountTmpfs mounts a file system for the duration of a test.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	must.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { must.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// TestLogIndex_DiskFull checks that a full disk of the index stops and delays no task, and that the
// missing links are counted.
func TestLogIndex_DiskFull(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := indexing(t, runtime, mountTmpfs(t, "size=64k,nr_inodes=5,mode=755"))
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		config := sh("seq 1 500000") // 3.4 MB
		config.Logs = &driver.LogsConfig{MaxFiles: 10, MaxFileSizeMB: 1}
		tk := n.newTask("", "web", config, identified)
		tk.start()
		must.Eq(t, 0, tk.wait().ExitCode)
		checkNumbered(t, tk.logged("stdout"), 500_000)
		dropped, err := strconv.Atoi(n.metrics()["log_index_dropped_total"])
		must.NoError(t, err)
		must.Positive(t, dropped)
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
	})
}

// TestLogIndex_Swept checks that the entries of an allocation are removed after its directory, also
// if that was removed while no plugin was running, and that entries of others stay.
func TestLogIndex_Swept(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := indexing(t, runtime, filepath.Join(t.TempDir(), "index"))
		var tasks []*task
		for range 3 {
			tk := n.newTask("", "web", sh("echo out"), identified)
			tk.start()
			must.Eq(t, 0, tk.wait().ExitCode)
			tasks = append(tasks, tk)
		}
		exists := func(tk *task) bool {
			_, err := os.Stat(filepath.Join(tk.indexDir(), "stdout.0"))
			return err == nil
		}
		n.fingerprint()
		for _, tk := range tasks {
			must.True(t, exists(tk))
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
		must.NoError(t, n.allocs[tasks[0].AllocID].Destroy())
		n.fingerprint()
		n.waitFor("the entry to be removed", func() bool { return !exists(tasks[0]) })
		n.abandon()
		must.NoError(t, n.allocs[tasks[1].AllocID].Destroy())
		n.start()
		n.fingerprint()
		n.waitFor("the entry to be removed", func() bool { return !exists(tasks[1]) })
		must.True(t, exists(tasks[2]))
		left, err := os.ReadDir(n.config.LogIndex)
		must.NoError(t, err)
		must.Len(t, 1, left)
	})
}

// TestLogIndex_Unusable checks that an index that cannot be used makes the node unhealthy, with the
// reason, and fails no task.
func TestLogIndex_Unusable(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		dir := t.TempDir()
		dirOf := func(name string, mode os.FileMode, uid int) string {
			path := filepath.Join(dir, name)
			must.NoError(t, os.Mkdir(path, 0o755))
			must.NoError(t, os.Chmod(path, mode))
			must.NoError(t, os.Chown(path, uid, uid))
			return path
		}
		readonly := mountTmpfs(t, "ro,mode=755")
		for name, tc := range map[string]struct{ index, want string }{
			"no directory":  {"/etc/passwd", "/etc/passwd: not a directory"},
			"below a file":  {"/etc/passwd/index", "not a directory"},
			"writable":      {dirOf("open", 0o1777, 0), `users other than root can write to it`},
			"group":         {dirOf("group", 0o770, 0), `run "chmod go-w`},
			"of another":    {dirOf("owned", 0o755, 65534), `it belongs to user 65534; run "chown root`},
			"replaceable":   {filepath.Join(dirOf("parent", 0o777, 0), "index"), "users other than root can replace it"},
			"read-only":     {readonly, "read-only file system"},
			"no parent fs":  {"/proc/nothing/index", "no such file or directory"},
			"below another": {filepath.Join(dirOf("home", 0o755, 65534), "index"), "user 65534"},
		} {
			t.Run(name, func(t *testing.T) {
				n := indexing(t, runtime, tc.index)
				fp := n.fingerprint()
				must.Eq(t, drivers.HealthStateUnhealthy, fp.Health)
				must.StrContains(t, fp.HealthDescription, "log_index = ")
				must.StrContains(t, fp.HealthDescription, tc.want)
				tk := n.newTask("", "web", sh("echo out"), identified)
				tk.start()
				must.Eq(t, 0, tk.wait().ExitCode)
				must.Eq(t, "out\n", tk.logged("stdout"))
			})
		}
	})
}

// TestLogIndex_HostileTask checks that neither a task nor a user of the host, who can replace the
// directory of the logs, can add a file to the index or take one out of it.
func TestLogIndex_HostileTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		outside := t.TempDir()
		secret := filepath.Join(outside, "web.stdout.0")
		must.NoError(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
		n := indexing(t, runtime, filepath.Join(t.TempDir(), "index"))
		config := sh(`cd /alloc; mv logs moved; rm -rf logs; ln -s /etc logs; ln -sf /etc/passwd logs/web.stdout.0; ln logs/web.stdout.0 copy
seq 1 200000; until [ -e /alloc/data/go ]; do sleep 0.01; done; seq 200001 400000`)
		config.Logs = &driver.LogsConfig{MaxFiles: 10, MaxFileSizeMB: 1}
		tk := n.newTask("", "web", config, identified)
		tk.User = "root"
		tk.start()
		n.waitFor("the first lines", func() bool { return strings.HasSuffix(tk.logged("stdout"), "\n200000\n") })

		shared := filepath.Join(tk.AllocDir, "alloc")
		must.NoError(t, os.Rename(tk.TaskDir().LogDir, filepath.Join(shared, "moved")))
		must.NoError(t, os.Symlink(outside, tk.TaskDir().LogDir))
		must.NoError(t, os.WriteFile(filepath.Join(shared, "data", "go"), nil, 0o600))
		must.Eq(t, 0, tk.wait().ExitCode)
		text, _ := tk.indexed("stdout")
		checkNumbered(t, text, 400_000)
		must.NoError(t, os.Remove(tk.TaskDir().LogDir))
		must.NoError(t, os.Rename(filepath.Join(shared, "moved"), tk.TaskDir().LogDir))
		left, err := os.ReadFile(secret)
		must.NoError(t, err)
		must.Eq(t, "secret\n", string(left))
	})
}

// TestLogIndex_Metrics checks that the output is counted, across restarts of the plugin.
func TestLogIndex_Metrics(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := indexing(t, runtime, filepath.Join(t.TempDir(), "index"))
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		tk := n.newTask("", "web", sh("seq 1 1000; until [ -e /alloc/data/go ]; do sleep 0.01; done; seq 1001 2000"), identified)
		tk.User = "root"
		handle := tk.start()
		n.waitFor("the first lines", func() bool { return strings.HasSuffix(tk.logged("stdout"), "\n1000\n") })
		first := strconv.Itoa(len(tk.logged("stdout")))
		must.Eq(t, first, n.metrics()["log_bytes_total"])
		n.abandon()
		n.start()
		must.Eq(t, drivers.HealthStateHealthy, n.fingerprint().Health)
		must.NoError(t, n.RecoverTask(handle))
		must.Eq(t, first, n.metrics()["log_bytes_total"])
		for _, pid := range n.collectors() {
			must.NoError(t, unix.Kill(pid, unix.SIGKILL))
		}
		must.NoError(t, os.WriteFile(filepath.Join(tk.AllocDir, "alloc", "data", "go"), nil, 0o600))
		must.Eq(t, 0, tk.wait().ExitCode)
		must.Eq(t, strconv.Itoa(len(tk.logged("stdout"))), n.metrics()["log_bytes_total"])
		must.Eq(t, "0", n.metrics()["log_stalls_total"])
		must.Eq(t, "0", n.metrics()["log_dropped_bytes_total"])
	})
}
