package driver_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// Memory that is still in use after a task and its cgroup were removed.

// fillScript writes as much as the task's memory limit permits to every kind of memory that belongs
// to the pod, and exits.
const fillScript = `$own = time . rand; for $dir ("/vol", "/dev/shm") {
	for (1..14) { open F, ">", "$dir/$own.$_"; print F "x" x (1 << 20); close F }
	for (1..300) { open F, ">", "$dir/$own.empty.$_"; close F } }
for (1..14) { $id = shmget(0, 1 << 20, 01600); last if !defined $id; shmwrite($id, "x" x (1 << 20), 0, 1 << 20) }
for (1..16) { $id = msgget(0, 01600); last if !defined $id; for (1..1000) { msgsnd($id, pack("l! a", 1, "x"), 04000) } }
for (1..16) { semget(0, 500, 01600) }`

// usageScript prints the memory of a pod in bytes, measured from inside: pages and inodes of its
// tmpfs, segments, messages and semaphores.
const usageScript = `exec perl -e 'for (qw(/vol /dev/shm)) {
	$sum += 1024 * (split " ", (` + "`df -k --output=used $_`" + `)[1])[0];
	$sum += 1024 * (split " ", (` + "`df --output=iused $_`" + `)[1])[0] }
	sub table { open F, "</proc/sysvipc/$_[0]"; <F>; map { [split] } <F> }
	$sum += $_->[3] for table("shm"); $sum += 64 * $_->[4] for table("msg"); $sum += 64 * $_->[3] for table("sem");
	print int $sum'`

func fillingTask(share ...string) driver.TaskConfig {
	return driver.TaskConfig{
		Command: "/usr/bin/perl", Args: []string{"-e", fillScript}, Share: share,
		PodVolumes: map[string]driver.VolumeConfig{"v": {Target: "/vol"}},
	}
}

// TestSharedMemory_Restarts checks that ten restarts of a task leave at most shared_memory_max in
// use.
func TestSharedMemory_Restarts(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		alloc := uuid.Generate()
		idle := fillingTask("ipc")
		idle.Command, idle.Args = "/bin/sleep", []string{"600"}
		sibling := n.newTask(alloc, "sibling", idle, quiet)
		sibling.start()
		for range 10 {
			tk := n.newTask(alloc, "filler", fillingTask("ipc"), quiet)
			_, _, err := n.StartTask(tk.TaskConfig)
			must.NoError(t, err)
			tk.wait()
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
		bytes, err := strconv.ParseInt(strings.TrimSpace(sibling.exec(usageScript)), 10, 64)
		must.NoError(t, err)
		t.Logf("in use after ten restarts: %d MiB", bytes>>20)
		must.Between(t, 100<<20, bytes, 256<<20) // the script used all kinds
	})
}

// TestSharedMemory_SumOfTasks checks that the largest request of a pod's tasks applies, that the
// sum is bounded in any order of starts, and that a lowered maximum applies to later requests
// only.
func TestSharedMemory_SumOfTasks(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.SharedMemoryMax = runtime, "300m" })
		alloc := uuid.Generate()
		in := func(name string, change func(*driver.TaskConfig)) *task {
			config := sh("exec sleep 600")
			change(&config)
			return n.newTask(alloc, name, config, quiet)
		}
		volume := func(name, size string) func(*driver.TaskConfig) {
			return func(c *driver.TaskConfig) {
				c.PodVolumes = map[string]driver.VolumeConfig{name: {Target: "/vol", Size: size}}
			}
		}
		first := in("first", func(c *driver.TaskConfig) {
			c.ShmSize, c.Sysctl = "80m", map[string]string{"kernel.shmall": "5000", "kernel.msgmni": "4"}
		})
		handles := []*drivers.TaskHandle{first.start()}
		limits := "cat /proc/sys/kernel/shmall /proc/sys/kernel/msgmni"
		must.Eq(t, "8192\n8\n", first.exec(limits), must.Sprint("a request below the default has no effect"))
		handles = append(handles, in("second", volume("a", "100m")).start())
		refused := func(name string, change func(*driver.TaskConfig), key string) {
			t.Helper()
			err := n.startError(in(name, change))
			must.ErrorContains(t, err, key)
			must.ErrorContains(t, err, "shared_memory_max = 314572800")
		}
		refused("third", volume("b", "90m"), `pod_volume "b" size = 94371840`)
		refused("third", func(c *driver.TaskConfig) { c.ShmSize = "200m" }, "shm_size = 209715200")
		refused("third", func(c *driver.TaskConfig) { c.Sysctl = map[string]string{"kernel.shmall": "40000"} }, "kernel.shmall = 40000 pages")
		third := in("third", func(c *driver.TaskConfig) {
			c.Sysctl = map[string]string{"kernel.shmall": "9000", "kernel.msgmax": "4242"}
		})
		handles = append(handles, third.start())
		must.Eq(t, "9000\n8\n", first.exec(limits))
		must.Eq(t, "4242\n", first.exec("cat /proc/sys/kernel/msgmax"))

		n.abandon()
		n.config.SharedMemoryMax = "100m"
		n.start()
		for _, handle := range handles {
			must.NoError(t, n.RecoverTask(handle))
		}
		must.ErrorContains(t, n.startError(in("fourth", volume("b", "1m"))), "shared_memory_max = 104857600")
		in("fourth", func(*driver.TaskConfig) {}).start() // it requests nothing
	})
}

// TestSharedMemory_OwnEndsWithItsTask checks that the content of a task's own IPC namespace and
// tmpfs is freed when the task ends.
func TestSharedMemory_OwnEndsWithItsTask(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		before := shmem(t)
		for range 5 {
			config := fillingTask()
			config.Share, config.PodVolumes = []string{}, nil
			config.Tmpfs = []string{"/vol:size=100%"}
			must.ErrorContains(t, n.startError(n.newTask("", "own", config, quiet)), "size=100%")
			config.Tmpfs = []string{"/vol"}
			tk := n.newTask("", "own", config, quiet)
			_, _, err := n.StartTask(tk.TaskConfig)
			must.NoError(t, err)
			tk.wait()
			must.NoError(t, n.DestroyTask(tk.ID, true))
		}
		n.waitFor("the memory to be free", func() bool { return shmem(t)-before < 40<<20 })
	})
}

// shmem returns the size of all tmpfs and System V segments of the host.
func shmem(t *testing.T) int64 {
	t.Helper()
	meminfo, err := os.ReadFile("/proc/meminfo")
	must.NoError(t, err)
	for line := range strings.Lines(string(meminfo)) {
		if rest, ok := strings.CutPrefix(line, "Shmem:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatal("no Shmem in /proc/meminfo")
	return 0
}
