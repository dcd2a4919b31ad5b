package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup1"
	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	"github.com/containerd/cgroups/v3/cgroup2"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
)

// Stats is what the processes of a group use, and what all that ever were in
// it have used.
type Stats struct {
	CPU    CPU
	Memory Memory
	// Processes is the number of processes and threads, as the pids
	// controller counts.
	Processes uint64
	// OOMKills counts processes that the kernel killed because the group was
	// over its memory limit.
	OOMKills uint64
}

// CPU is time since the group was made.
type CPU struct {
	TotalNanos, UserNanos, SystemNanos uint64
	ThrottledPeriods                   uint64
	ThrottledNanos                     uint64
}

// Memory is in bytes, now, except MaxUsage.
type Memory struct {
	// RSS is anonymous memory and Cache the page cache, tmpfs included.
	RSS, Cache, MappedFile, Swap uint64
	// Usage is all that counts against the limit, and MaxUsage the most it
	// has been; zero where the kernel does not keep it (v2 before Linux 5.19).
	Usage, MaxUsage uint64
	// Kernel is memory the kernel uses for the group: stacks, slab, sockets.
	Kernel, MaxKernel uint64
}

// Stats reads the group's use.
func (g Group) Stats() (Stats, error) {
	if g.version == V2 {
		m, err := cgroup2.Load(g.path, cgroup2.WithMountpoint(Root))
		if err != nil {
			return Stats{}, fmt.Errorf("stats of cgroup %s: %w", g.path, err)
		}
		metrics, err := m.Stat()
		if err != nil {
			return Stats{}, fmt.Errorf("stats of cgroup %s: %w", g.path, err)
		}
		return fromV2(metrics), nil
	}
	cg, err := cgroup1.Load(cgroup1.StaticPath(g.path), cgroup1.WithHierarchy(accounting))
	if err != nil {
		return Stats{}, fmt.Errorf("stats of cgroup %s: %w", g.path, err)
	}
	metrics, err := cg.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return Stats{}, fmt.Errorf("stats of cgroup %s: %w", g.path, err)
	}
	return fromV1(metrics), nil
}

// OOMKills reads Stats.OOMKills alone, which is one file. It must be read
// before the group is removed.
func (g Group) OOMKills() (uint64, error) {
	path := filepath.Join(Root, g.path, "memory.events")
	if g.version != V2 {
		path = filepath.Join(Root, "memory", g.path, "memory.oom_control")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read kills for lack of memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s does not tell kills", path) // Linux before 4.13
}

// accounting names the v1 hierarchies that Stats reads. The library's own list
// costs a look at every mount there is, each time.
func accounting() ([]cgroup1.Subsystem, error) {
	var used []cgroup1.Subsystem
	for _, s := range []cgroup1.Subsystem{
		cgroup1.NewCpu(Root), cgroup1.NewCpuacct(Root), cgroup1.NewMemory(Root), cgroup1.NewPids(Root),
	} {
		if _, err := os.Stat(filepath.Join(Root, string(s.Name()))); err == nil {
			used = append(used, s)
		}
	}
	return used, nil
}

func fromV1(m *v1.Metrics) Stats {
	var s Stats
	if u := m.GetCPU().GetUsage(); u != nil {
		s.CPU.TotalNanos, s.CPU.UserNanos, s.CPU.SystemNanos = u.Total, u.User, u.Kernel
	}
	if th := m.GetCPU().GetThrottling(); th != nil {
		s.CPU.ThrottledPeriods, s.CPU.ThrottledNanos = th.ThrottledPeriods, th.ThrottledTime
	}
	if mem := m.GetMemory(); mem != nil {
		s.Memory = Memory{
			RSS: mem.TotalRSS, Cache: mem.TotalCache, MappedFile: mem.TotalMappedFile,
			Usage: mem.GetUsage().GetUsage(), MaxUsage: mem.GetUsage().GetMax(),
			Kernel: mem.GetKernel().GetUsage(), MaxKernel: mem.GetKernel().GetMax(),
		}
		// v1 counts memory and swap together.
		if both := mem.GetSwap().GetUsage(); both > s.Memory.Usage {
			s.Memory.Swap = both - s.Memory.Usage
		}
	}
	s.Processes = m.GetPids().GetCurrent()
	s.OOMKills = m.GetMemoryOomControl().GetOomKill()
	return s
}

func fromV2(m *v2.Metrics) Stats {
	var s Stats
	if cpu := m.GetCPU(); cpu != nil {
		const nanosPerMicro = 1000
		s.CPU = CPU{
			TotalNanos: cpu.UsageUsec * nanosPerMicro, UserNanos: cpu.UserUsec * nanosPerMicro,
			SystemNanos: cpu.SystemUsec * nanosPerMicro, ThrottledPeriods: cpu.NrThrottled,
			ThrottledNanos: cpu.ThrottledUsec * nanosPerMicro,
		}
	}
	if mem := m.GetMemory(); mem != nil {
		s.Memory = Memory{
			RSS: mem.Anon, Cache: mem.File, MappedFile: mem.FileMapped, Swap: mem.SwapUsage,
			Usage: mem.Usage, MaxUsage: mem.MaxUsage,
			Kernel: mem.KernelStack + mem.Slab + mem.Sock,
		}
	}
	s.Processes = m.GetPids().GetCurrent()
	s.OOMKills = m.GetMemoryEvents().GetOomKill()
	return s
}
