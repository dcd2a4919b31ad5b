package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Stats is the current and cumulative usage of a group and the groups below it. Values
// that the kernel does not count are zero.
type Stats struct {
	CPU    CPU
	Memory Memory
	// OOMKills counts processes killed because the group exceeded its memory limit.
	OOMKills uint64
}

// CPU is time since the group was created.
type CPU struct {
	TotalNanos, UserNanos, SystemNanos uint64
	ThrottledPeriods                   uint64
	ThrottledNanos                     uint64
}

// Memory is in bytes, now, except MaxUsage and MaxKernel.
type Memory struct {
	// RSS is anonymous memory and Cache the page cache, tmpfs included.
	RSS, Cache, MappedFile, Swap uint64
	// Usage is all memory that counts against the limit, and MaxUsage its maximum; zero
	// if the kernel does not record it (v2 before Linux 5.19).
	Usage, MaxUsage uint64
	// Kernel is memory the kernel uses for the group: stacks, slab, sockets.
	Kernel, MaxKernel uint64
}

// source is a file of a group and its fields: lines of a key and a number, or a single
// number for a field without a key.
type source struct {
	controller string // directory below Root on v1, empty on v2
	name       string
	fields     []field
}

type field struct {
	key string
	add func(*Stats, uint64)
}

// nanosPerTick is the unit of times in cpuacct.stat: USER_HZ is 100 on every
// architecture that Go supports.
const nanosPerTick = 1e9 / 100

const nanosPerMicro = 1000

var (
	// oomV1 and oomV2 are the files of Stats.OOMKills. Linux before 4.13 does
	// not count them on v1.
	oomV1 = source{"memory", "memory.oom_control", []field{{"oom_kill", func(s *Stats, n uint64) { s.OOMKills = n }}}}
	oomV2 = source{"", "memory.events", oomV1.fields}

	// Kernel documentation, admin-guide/cgroup-v1/{cpuacct,memory}.rst and
	// scheduler/sched-bwc.rst. Swap is in memory.stat if it is accounted.
	// The first source shows whether the group is idle, see Meter.
	sourcesV1 = []source{
		{"cpuacct", "cpuacct.usage", []field{{"", func(s *Stats, n uint64) { s.CPU.TotalNanos = n }}}},
		{"cpuacct", "cpuacct.stat", []field{
			{"user", func(s *Stats, n uint64) { s.CPU.UserNanos = n * nanosPerTick }},
			{"system", func(s *Stats, n uint64) { s.CPU.SystemNanos = n * nanosPerTick }},
		}},
		{"cpu", "cpu.stat", []field{
			{"nr_throttled", func(s *Stats, n uint64) { s.CPU.ThrottledPeriods = n }},
			{"throttled_time", func(s *Stats, n uint64) { s.CPU.ThrottledNanos = n }},
		}},
		{"memory", "memory.stat", []field{
			{"total_rss", func(s *Stats, n uint64) { s.Memory.RSS = n }},
			{"total_cache", func(s *Stats, n uint64) { s.Memory.Cache = n }},
			{"total_mapped_file", func(s *Stats, n uint64) { s.Memory.MappedFile = n }},
			{"total_swap", func(s *Stats, n uint64) { s.Memory.Swap = n }},
		}},
		{"memory", "memory.usage_in_bytes", []field{{"", func(s *Stats, n uint64) { s.Memory.Usage = n }}}},
		{"memory", "memory.max_usage_in_bytes", []field{{"", func(s *Stats, n uint64) { s.Memory.MaxUsage = n }}}},
		{"memory", "memory.kmem.usage_in_bytes", []field{{"", func(s *Stats, n uint64) { s.Memory.Kernel = n }}}},
		{"memory", "memory.kmem.max_usage_in_bytes", []field{{"", func(s *Stats, n uint64) { s.Memory.MaxKernel = n }}}},
		oomV1,
	}

	// Kernel documentation, admin-guide/cgroup-v2.rst. The first shows whether the group is idle.
	sourcesV2 = []source{
		{"", "cpu.stat", []field{
			{"usage_usec", func(s *Stats, n uint64) { s.CPU.TotalNanos = n * nanosPerMicro }},
			{"user_usec", func(s *Stats, n uint64) { s.CPU.UserNanos = n * nanosPerMicro }},
			{"system_usec", func(s *Stats, n uint64) { s.CPU.SystemNanos = n * nanosPerMicro }},
			{"nr_throttled", func(s *Stats, n uint64) { s.CPU.ThrottledPeriods = n }},
			{"throttled_usec", func(s *Stats, n uint64) { s.CPU.ThrottledNanos = n * nanosPerMicro }},
		}},
		{"", "memory.stat", []field{
			{"anon", func(s *Stats, n uint64) { s.Memory.RSS = n }},
			{"file", func(s *Stats, n uint64) { s.Memory.Cache = n }},
			{"file_mapped", func(s *Stats, n uint64) { s.Memory.MappedFile = n }},
			{"kernel_stack", addKernel},
			{"slab", addKernel},
			{"sock", addKernel},
		}},
		{"", "memory.current", []field{{"", func(s *Stats, n uint64) { s.Memory.Usage = n }}}},
		{"", "memory.peak", []field{{"", func(s *Stats, n uint64) { s.Memory.MaxUsage = n }}}},
		{"", "memory.swap.current", []field{{"", func(s *Stats, n uint64) { s.Memory.Swap = n }}}},
		oomV2,
	}
)

func addKernel(s *Stats, n uint64) { s.Memory.Kernel += n }

func (g Group) sources() []source {
	if g.version == V2 {
		return sourcesV2
	}
	return sourcesV1
}

func (g Group) file(s source) string { return filepath.Join(Root, s.controller, g.path, s.name) }

// OOMKills reads only Stats.OOMKills, from one file. It must be called before the group
// is removed.
func (g Group) OOMKills() (uint64, error) {
	src := oomV2
	if g.version != V2 {
		src = oomV1
	}
	f, err := os.Open(g.file(src))
	if err != nil {
		return 0, fmt.Errorf("read kills for lack of memory: %w", err)
	}
	defer f.Close()
	var s Stats
	if err := src.read(int(f.Fd()), &s); err != nil {
		return 0, fmt.Errorf("read kills for lack of memory: %w", err)
	}
	return s.OOMKills, nil
}

// maxFile is several times the size of the largest file.
const maxFile = 16 << 10

var buffers = sync.Pool{New: func() any { return new([maxFile]byte) }}

func (src source) read(fd int, s *Stats) error {
	buf := buffers.Get().(*[maxFile]byte)
	defer buffers.Put(buf)
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return err
	}
	return src.parse(buf[:n], s)
}

// parse extracts the known fields of a file. Newer kernels add lines.
func (src source) parse(text []byte, s *Stats) error {
	if src.fields[0].key == "" {
		return src.fields[0].take(bytes.TrimSpace(text), s)
	}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		for _, f := range src.fields {
			if string(key) != f.key {
				continue
			}
			if err := f.take(value, s); err != nil {
				return fmt.Errorf("%s: %w", f.key, err)
			}
			break
		}
	}
	return nil
}

func (f field) take(value []byte, s *Stats) error {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return err
	}
	f.add(s, n)
	return nil
}
