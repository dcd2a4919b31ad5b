package driver

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

const bytesPerMiB = 1 << 20

// setLimits sets the limits of the task's cgroup and processes.
func (s settings) setLimits(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig, v cgroup.Version) error {
	t.Limits.Processes = s.PidsLimit
	if c.PidsLimit > 0 {
		t.Limits.Processes = c.PidsLimit
	}
	setMemory(t, cfg)
	var errs []error
	if c.PidsLimit > 0 && s.PidsLimit > 0 && c.PidsLimit > s.PidsLimit {
		errs = append(errs, fmt.Errorf("pids_limit = %d is above the operator's limit of %d", c.PidsLimit, s.PidsLimit))
	}
	if c.OOMScoreAdj < 0 || c.OOMScoreAdj > 1000 {
		errs = append(errs, fmt.Errorf("oom_score_adj = %d: want 0 to 1000; a task cannot be protected from the OOM killer", c.OOMScoreAdj))
	}
	t.OOMScoreAdj = c.OOMScoreAdj
	return errors.Join(append(errs, s.setSwap(t, c), setCPU(t, c, cfg, v), s.setUlimits(t, c), setSysctl(t, c, cfg))...)
}

// setMemory reads memory from NomadResources, since MemoryLimitBytes of
// LinuxResources cannot express "no limit".
func setMemory(t *pod.Task, cfg *drivers.TaskConfig) {
	if cfg.Resources == nil || cfg.Resources.NomadResources == nil {
		return
	}
	n := cfg.Resources.NomadResources
	reserved, most := n.Memory.MemoryMB*bytesPerMiB, n.Memory.MemoryMaxMB*bytesPerMiB
	switch {
	case most == 0:
		t.Limits.MemoryBytes = reserved
	case most > 0:
		t.Limits.MemoryBytes, t.Limits.MemoryReservationBytes = most, reserved
	default: // -1: no hard limit
		t.Limits.MemoryReservationBytes = reserved
	}
	t.Limits.MemorySwapBytes = t.Limits.MemoryBytes // no additional swap
}

// setSwap must run after setMemory: swap is added to the memory limit.
func (s settings) setSwap(t *pod.Task, c TaskConfig) error {
	if c.MemorySwap == "" {
		return nil
	}
	if t.Limits.MemoryBytes == 0 {
		return fmt.Errorf("memory_swap = %q: without a memory limit swap is not limited either: omit memory_swap", c.MemorySwap)
	}
	if c.MemorySwap == "-1" {
		t.Limits.MemorySwapBytes = -1
		return s.ceilings.checkSwap(t, c)
	}
	n, err := parseSize(c.MemorySwap)
	if err != nil {
		return fmt.Errorf("memory_swap = %q: want memory and swap together, such as \"256m\" or \"1g\", or \"-1\" for no limit", c.MemorySwap)
	}
	if n < t.Limits.MemoryBytes {
		return fmt.Errorf("memory_swap = %q is below the task's memory of %d MiB: it sets memory and swap together", c.MemorySwap, t.Limits.MemoryBytes/bytesPerMiB)
	}
	t.Limits.MemorySwapBytes = n
	return s.ceilings.checkSwap(t, c)
}

// The kernel's limits for a period and its minimum quota
// (Documentation/scheduler/sched-bwc.rst).
const (
	minCPUPeriodMicros, maxCPUPeriodMicros = 1000, 1000000
	defaultCPUPeriodMicros                 = 100000
	minCPUQuotaMicros                      = 1000
)

func setCPU(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig, v cgroup.Version) error {
	period := c.CPUCFSPeriod
	switch {
	case period == 0:
		period = defaultCPUPeriodMicros
	case period < minCPUPeriodMicros || period > maxCPUPeriodMicros:
		return fmt.Errorf("cpu_cfs_period = %d: want %d to %d microseconds", period, minCPUPeriodMicros, maxCPUPeriodMicros)
	case !c.CPUHardLimit:
		return fmt.Errorf("cpu_cfs_period is set and cpu_hard_limit is not: set cpu_hard_limit = true, or leave cpu_cfs_period out")
	}
	if cfg.Resources == nil || cfg.Resources.LinuxResources == nil {
		return nil
	}
	l := cfg.Resources.LinuxResources
	t.Limits.CPUShares = uint64(max(l.CPUShares, 0))
	switch {
	case v == cgroup.V2:
		// Nomad's cgroup already sets the CPUs, and follows changes of
		// reservations.
	case l.CpusetCpus != "":
		t.Limits.CPUSet = l.CpusetCpus // reserved cores do not change
	default:
		t.CpusetHostPath = l.CpusetCgroupPath // cores that no task has reserved
	}
	if c.CPUHardLimit {
		// PercentTicks is the task's share of all cores.
		quota := int64(l.PercentTicks * float64(period) * float64(runtime.NumCPU()))
		t.Limits.CPUQuotaMicros, t.Limits.CPUPeriodMicros = max(quota, minCPUQuotaMicros), uint64(period)
	}
	return nil
}

// setUlimits refuses limits that the kernel would refuse: raising hard limits
// requires CAP_SYS_RESOURCE (setrlimit(2)).
func (s settings) setUlimits(t *pod.Task, c TaskConfig) error {
	var errs []error
	for _, name := range sortedKeys(c.Ulimit) {
		value := strings.ReplaceAll(c.Ulimit[name], "unlimited", "-1")
		u, err := units.ParseUlimit(name + "=" + value)
		if err == nil && (u.Soft < -1 || u.Hard < -1) {
			err = errors.New("it is negative")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ulimit: %s = %q: %w: want \"soft:hard\" or one number, -1 for no limit", name, c.Ulimit[name], err))
			continue
		}
		limit := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)}
		r, err := u.GetRlimit()
		if err != nil {
			errs = append(errs, fmt.Errorf("ulimit: %s: %w", name, err))
			continue
		}
		if err := s.ceilings.checkUlimit(t, name, r.Type, limit.Hard); err != nil {
			errs = append(errs, fmt.Errorf("ulimit: %s = %q is %w", name, c.Ulimit[name], err))
		}
		t.Rlimits = append(t.Rlimits, limit)
	}
	return errors.Join(errs...)
}

var sysctlName = regexp.MustCompile(`^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)

// setSysctl accepts only sysctls of a namespace (namespaces(7) and related pages)
// that is not the host's.
func setSysctl(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	hostNet := !t.Network.None && t.Network.NamespaceHostPath == ""
	var errs []error
	for _, name := range sortedKeys(c.Sysctl) {
		bad := func(why string) { errs = append(errs, fmt.Errorf("sysctl: %s %s", name, why)) }
		has := func(prefixes ...string) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		}
		switch {
		case !sysctlName.MatchString(name):
			bad("is not a name such as net.core.somaxconn")
		case has("net."):
			if hostNet {
				bad("belongs to the network namespace, which is the host's here: set mode = \"bridge\" in the group's network block")
			}
		case has("kernel.shm", "kernel.msg", "fs.mqueue.") || name == "kernel.sem":
			if t.HostNamespaces.IPC {
				bad("belongs to the IPC namespace, which is the host's here: leave ipc_mode out")
			}
		case name == "kernel.hostname":
			bad("is set by the key hostname: use that key")
		case name == "kernel.domainname":
			if t.HostNamespaces.UTS {
				bad("belongs to the UTS namespace, which is the host's here: leave uts_mode out")
			}
		default:
			bad("belongs to no namespace and would change the host: want net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* or kernel.domainname")
		}
	}
	t.Sysctl = c.Sysctl
	return errors.Join(errs...)
}
