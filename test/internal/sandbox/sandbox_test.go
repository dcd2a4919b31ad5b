package sandbox_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m))
}

func TestSandbox_OnlyLoopback(t *testing.T) {
	sandbox.Require(t)
	up, err := net.Interfaces()
	must.NoError(t, err)
	for _, i := range up {
		if i.Flags&net.FlagUp != 0 {
			must.Eq(t, "lo", i.Name)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	must.NoError(t, l.Close())
}

func TestSandbox_Reaps(t *testing.T) {
	sandbox.Require(t)
	comm, err := os.ReadFile("/proc/1/comm")
	must.NoError(t, err)
	must.Eq(t, "catatonit", strings.TrimSpace(string(comm)))
	processes, err := filepath.Glob("/proc/[0-9]*")
	must.NoError(t, err)
	must.SliceLen(t, 2, processes, must.Sprint("processes other than init and the test"))
}

func TestSandbox_HidesState(t *testing.T) {
	sandbox.Require(t)
	for _, dir := range []string{"/run", "/var/lib/cni"} {
		entries, err := os.ReadDir(dir)
		must.NoError(t, err)
		must.SliceEmpty(t, entries, must.Sprintf("%s is not empty", dir))
	}
}

func TestSandbox_OwnCgroups(t *testing.T) {
	sandbox.Require(t)
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		t.Skip("needs cgroup v1: the sandbox has no own cgroups on v2")
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	must.NoError(t, err)
	for line := range strings.Lines(string(groups)) {
		must.StrHasSuffix(t, ":/\n", line)
	}
	for _, dir := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpuset"} {
		below, err := filepath.Glob(dir + "/*/cgroup.procs")
		must.NoError(t, err)
		must.SliceEmpty(t, below, must.Sprint("visible cgroups of other processes"))
		procs, err := os.ReadFile(dir + "/cgroup.procs")
		must.NoError(t, err)
		must.SliceContains(t, strings.Fields(string(procs)), fmt.Sprint(os.Getpid()))
	}
}
