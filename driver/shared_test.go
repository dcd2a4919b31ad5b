package driver

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// The error for a request of shared memory that cannot be met names the key, the value and the
// operator's maximum.
func TestTaskFrom_SharedMemory(t *testing.T) {
	volume := func(size string) string {
		return "pod_volume \"v\" {\n target = \"/v\"\n size = \"" + size + "\"\n}"
	}
	sysctl := func(name, value string) string { return "sysctl = { \"" + name + "\" = \"" + value + "\" }" }
	const most = "above the operator's shared_memory_max = 268435456"
	for _, tc := range []struct{ hcl, want, also string }{
		{volume("1024g"), `pod_volume "v" size = 1099511627776`, most},
		{volume("256m"), `pod_volume "v" size = 268435456`, most},
		{volume("9999999999g"), `pod_volume "v": size = "9999999999g": want a number of bytes`, ""},
		{volume("-1"), `pod_volume "v": size = "-1"`, ""},
		{volume("50%"), `pod_volume "v": size = "50%"`, ""},
		{volume("0"), `pod_volume "v": size = "0"`, ""},
		{"shm_size = 1000000000000000", "shm_size = 1000000000000000", most},
		{"shm_size = 268435456", "shm_size = 268435456", most},
		{"shm_size = -1", `shm_size = "-1": want a number of bytes`, ""},
		{`shm_size = "256m"`, "shm_size = 268435456", most},
		{sysctl("kernel.shmall", "18446744073692774399"), "kernel.shmall = 9223372036854775807 pages", most},
		{sysctl("kernel.msgmni", "-1"), `sysctl: kernel.msgmni = "-1": want 1 number(s)`, ""},
		{sysctl("kernel.msgmni", "32000"), "kernel.msgmni = 32000", most},
		{sysctl("fs.mqueue.queues_max", "65536"), "fs.mqueue.queues_max = 65536", most},
		{sysctl("kernel.sem", "32000 1024000000 500 32000"), "for System V IPC", most},
	} {
		_, err := defaults(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\n"+tc.hcl)), cgroup.V1)
		must.ErrorContains(t, err, tc.want)
		must.ErrorContains(t, err, tc.also)
	}
	_, err := defaults(t).taskFrom(taskConfig(t, decode(t, "command = \"a\"\nshare = []\n"+sysctl("kernel.shmall", "18446744073692774399"))), cgroup.V1)
	must.NoError(t, err, must.Sprint("private IPC namespace, charged to the task"))
}

func TestNewSettings_SharedMemoryMax(t *testing.T) {
	for _, text := range []string{"0", "-1", "31m", "2048t", "many", "50%"} {
		_, err := newSettings(PluginConfig{SharedMemoryMax: text})
		must.ErrorContains(t, err, "shared_memory_max = ", must.Sprint(text))
	}
	must.Eq(t, 256<<20, defaults(t).sharedMemoryMax)
}
