package pod

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ipcLimits maps the sysctl of an IPC namespace limit to its values.
type ipcLimits map[string][]int64

func defaultIPCLimits(most int64) ipcLimits {
	objects := min(16<<20, most/16)
	const msgmnb, msgMax, msgsizeMax = 16384, 10, 8192 // the kernel's defaults
	semaphores := objects / 16 / semaphoreBytes
	return ipcLimits{
		"kernel.shmall":        {min(32<<20, most/8) / int64(os.Getpagesize())},
		"kernel.shmmni":        {256},
		"kernel.msgmnb":        {msgmnb},
		"kernel.msgmni":        {max(objects/2/(msgmnb*messageBytes), 1)},
		"kernel.sem":           {semaphores, semaphores, 500, semaphores / 64},
		"fs.mqueue.queues_max": {objects * 3 / 8 / (msgMax*(msgsizeMax+2*messageBytes) + queueBytes)},
		"fs.mqueue.msg_max":    {msgMax}, "fs.mqueue.msgsize_max": {msgsizeMax},
	}
}

// bounded reports whether a sysctl limits how much a pod's IPC namespace can
// hold.
func bounded(sysctl string) bool {
	_, ok := defaultIPCLimits(DefaultSharedMemoryMax)[sysctl]
	return ok
}

// cost returns the memory in bytes that the limits allow.
func (l ipcLimits) cost() int64 {
	if l == nil {
		return 0
	}
	at := func(name string) int64 { return l[name][0] }
	sem := l["kernel.sem"]
	return add(
		mul(at("kernel.shmall"), int64(os.Getpagesize())), mul(at("kernel.shmmni"), segmentBytes),
		mul(at("kernel.msgmni"), add(mul(at("kernel.msgmnb"), messageBytes), queueBytes)),
		mul(sem[1], semaphoreBytes), mul(sem[3], setBytes),
		mul(at("fs.mqueue.queues_max"),
			add(mul(at("fs.mqueue.msg_max"), add(at("fs.mqueue.msgsize_max"), 2*messageBytes)), queueBytes)),
	)
}

// raised returns the larger of each limit.
func (l ipcLimits) raised(by ipcLimits) ipcLimits {
	if l == nil {
		return by
	}
	out := maps.Clone(l)
	for name, values := range by {
		larger := slices.Clone(out[name])
		for i := range min(len(larger), len(values)) {
			larger[i] = max(larger[i], values[i])
		}
		out[name] = larger
	}
	return out
}

func (l ipcLimits) equal(other ipcLimits) bool { return maps.EqualFunc(l, other, slices.Equal) }

func sysctlFile(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}

// write sets the limits of this thread's IPC namespace.
func (l ipcLimits) write() error {
	for name, values := range l {
		text := strings.Trim(fmt.Sprint(values), "[]")
		if err := os.WriteFile(sysctlFile(name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("limit shared memory: %w", err)
		}
	}
	return nil
}

// readIPCLimits reads the limits of this thread's IPC namespace.
func readIPCLimits() (ipcLimits, error) {
	l := defaultIPCLimits(DefaultSharedMemoryMax)
	for name := range l {
		text, err := os.ReadFile(sysctlFile(name))
		if err != nil {
			return nil, fmt.Errorf("read shared memory limits: %w", err)
		}
		if l[name], err = numbers(string(text)); err != nil {
			return nil, fmt.Errorf("read shared memory limits: %s: %w", name, err)
		}
	}
	return l, nil
}

// numbers parses the values of a sysctl. A value above int64, such as the kernel's
// default for shmall, becomes math.MaxInt64.
func numbers(text string) ([]int64, error) {
	var out []int64
	for _, field := range strings.Fields(text) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, int64(min(n, math.MaxInt64)))
	}
	return out, nil
}

// add and mul saturate at math.MaxInt64.
func add(values ...int64) int64 {
	var sum int64
	for _, v := range values {
		if sum > math.MaxInt64-v {
			return math.MaxInt64
		}
		sum += v
	}
	return sum
}

func mul(a, b int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}
