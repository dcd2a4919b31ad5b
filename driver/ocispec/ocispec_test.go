package ocispec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/shoenig/test/must"
)

var update = flag.Bool("update", false, "update the golden files")

// task returns a container as the driver describes one.
func task() Container {
	return Container{
		RootHostPath: "/data/root",
		Args:         []string{"/bin/app", "-v"},
		Env:          []string{"A=1"},
		User:         User{UID: 65534, GID: 65534},
		Namespaces: []Namespace{
			{Kind: specs.MountNamespace},
			{Kind: specs.PIDNamespace},
			{Kind: specs.CgroupNamespace},
			{Kind: specs.IPCNamespace, Path: "/run/pod/ns/ipc"},
			{Kind: specs.UTSNamespace, Path: "/run/pod/ns/uts"},
			{Kind: specs.NetworkNamespace, Path: "/run/netns/alloc"},
		},
		Mounts: []Mount{
			Bind("/run/pod/shm", "/dev/shm", false),
			Bind("/allocs/a/alloc", "/alloc", false),
			Bind("/allocs/a/alloc/logs", "/alloc/logs", true),
		},
		CgroupPath: "/nomad.slice/share.slice/a.t.scope",
		Limits: Limits{MemoryBytes: 64 << 20, MemorySwapBytes: 64 << 20, CPUShares: 100,
			CPUQuotaMicros: 50000, CPUPeriodMicros: 100000, Processes: 512, CPUSet: "0-1"},
		Capabilities: []string{"CAP_KILL", "CAP_CHOWN"},
	}
}

func root(c Container) Container { c.User = User{}; return c }
func hostNet(c Container) Container {
	c.Namespaces = c.Namespaces[:5]
	return c
}
func unconfined(c Container) Container { c.Unconfined = true; return c }

func TestGolden(t *testing.T) {
	for name, c := range map[string]Container{
		"task":       task(),
		"root":       root(task()),
		"hostnet":    hostNet(task()),
		"unconfined": unconfined(root(task())),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Build(c)
			must.NoError(t, err)
			if s.Linux.Seccomp != nil {
				// The profile comes from a library and depends on the architecture and the kernel.
				// Check only that it denies by default.
				must.Eq(t, specs.ActErrno, s.Linux.Seccomp.DefaultAction)
				s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
			}
			got, err := json.MarshalIndent(s, "", "  ")
			must.NoError(t, err)
			path := filepath.Join("testdata", name+".json")
			if *update {
				must.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(path)
			must.NoError(t, err)
			must.Eq(t, string(want), string(got)+"\n")
		})
	}
}

func TestSpec_Confined(t *testing.T) {
	s, err := Build(root(task()))
	must.NoError(t, err)
	must.True(t, s.Process.NoNewPrivileges)
	must.NotNil(t, s.Linux.Seccomp)
	must.SliceContains(t, s.Linux.MaskedPaths, "/proc/kcore")
	must.SliceContains(t, s.Linux.ReadonlyPaths, "/proc/sys")
	must.False(t, s.Linux.Resources.Devices[0].Allow)
	for _, call := range s.Linux.Seccomp.Syscalls {
		if call.Action == specs.ActAllow {
			must.SliceNotContains(t, call.Names, "kexec_load")
		}
	}
}

// A CPU share above the kernel's maximum, as with many reserved cores, is clamped and not refused.
func TestSpec_ClampsCPUShares(t *testing.T) {
	for in, want := range map[uint64]uint64{1: 2, 500: 500, 1 << 30: maxCPUShares} {
		c := task()
		c.Limits.CPUShares = in
		s, err := Build(c)
		must.NoError(t, err)
		must.Eq(t, want, *s.Linux.Resources.CPU.Shares)
	}
}

// Nomad's packaged unit runs with oom_score_adj -1000. A task gets 0.
// Trap D21.
func TestSpec_ResetsOOMScore(t *testing.T) {
	s, err := Build(task())
	must.NoError(t, err)
	must.NotNil(t, s.Process.OOMScoreAdj)
	must.Eq(t, 0, *s.Process.OOMScoreAdj)
}

func TestSpec_RootPropagation(t *testing.T) {
	for _, tc := range []struct {
		options []string
		want    string
	}{{nil, ""}, {[]string{"rslave"}, "rslave"}, {[]string{"rslave", "shared"}, "shared"}, {[]string{"rshared", "slave"}, "shared"}} {
		c := task()
		for _, o := range tc.options {
			c.Mounts = append(c.Mounts, Mount{Target: "/x", Source: "/x", Type: "bind", Options: []string{"bind", o}})
		}
		s, err := Build(c)
		must.NoError(t, err)
		must.Eq(t, tc.want, s.Linux.RootfsPropagation)
	}
}

// A profile in the job replaces the default profile.
func TestSeccompProfiles(t *testing.T) {
	c := task()
	c.Security.SeccompProfile = `{"defaultAction": "SCMP_ACT_LOG"}`
	s, err := Build(c)
	must.NoError(t, err)
	must.Eq(t, specs.ActLog, s.Linux.Seccomp.DefaultAction)
	c.Security.SeccompProfile = SeccompUnconfined
	s, err = Build(c)
	must.NoError(t, err)
	must.Nil(t, s.Linux.Seccomp)
	c.Security.SeccompProfile = "{"
	_, err = Build(c)
	must.ErrorContains(t, err, "seccomp profile")
	must.Error(t, CheckSeccomp("{"))
}

func TestSpec_NoCommand(t *testing.T) {
	c := task()
	c.Args = nil
	_, err := Build(c)
	must.ErrorContains(t, err, "no command")
}
