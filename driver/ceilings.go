package driver

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// ceilings are the operator's limits on resources that Nomad does not schedule.
type ceilings struct {
	ulimits map[string]uint64 // maximum hard limit by ulimit name
	// swapBytes is the maximum swap in addition to a task's memory. Negative: the
	// size of the task's memory.
	swapBytes int64
	logBytes  int64 // of all files of one output
}

// noBound is the value of an unlimited ceiling.
const noBound = "-1"

// defaultLogsMax is the ceiling of a plugin without config.
const defaultLogsMax = "1g"

func newCeilings(c PluginConfig) (ceilings, error) {
	out := ceilings{ulimits: map[string]uint64{}, swapBytes: -1}
	var errs []error
	for _, name := range sortedKeys(c.UlimitMax) {
		value := strings.ReplaceAll(c.UlimitMax[name], "unlimited", noBound)
		u, err := units.ParseUlimit(name + "=" + value)
		if err != nil || u.Soft != u.Hard {
			errs = append(errs, fmt.Errorf("ulimit_max: %s = %q: want one number for a limit of setrlimit(2), %s for no bound", name, c.UlimitMax[name], noBound))
			continue
		}
		out.ulimits[name] = uint64(u.Hard)
	}
	size := func(key, value string) int64 {
		switch value {
		case noBound:
			return math.MaxInt64
		case "0":
			return 0
		}
		n, err := parseSize(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s = %q: want a size such as \"1g\", or %q for no bound", key, value, noBound))
		}
		return n
	}
	if c.SwapMax != "" {
		out.swapBytes = size("swap_max", c.SwapMax)
	}
	out.logBytes = size("logs_max", firstNonEmpty(c.LogsMax, defaultLogsMax))
	return out, errors.Join(errs...)
}

// unscheduled reports whether a limit is not enforced by the task's cgroup. A task with
// a real-time priority can take a CPU from all others.
func unscheduled(t *pod.Task, name string) bool {
	if name == "memlock" {
		return t.Limits.MemoryBytes == 0
	}
	return name == "nice" || name == "rtprio" || name == "msgqueue" || name == "sigpending"
}

// checkUlimit returns an error that completes "NAME = VALUE is …".
func (c ceilings) checkUlimit(t *pod.Task, name string, resource int, hard uint64) error {
	if most, ok := c.ulimits[name]; ok {
		if hard > most {
			return fmt.Errorf("above the operator's limit of %d: the operator can raise ulimit_max { %s = … } in the plugin's config", most, name)
		}
	} else if own, err := ownRlimit(resource); unscheduled(t, name) && err == nil && hard > own {
		return fmt.Errorf("above the Nomad client's own limit of %d: the operator can set ulimit_max { %s = … } in the plugin's config", own, name)
	}
	if own, err := ownRlimit(resource); err == nil && hard > own && !canRaiseLimits() {
		return fmt.Errorf("above the Nomad client's own limit of %d: raise it (LimitNOFILE in its unit), or request less", own)
	}
	if name == "nofile" {
		if most, err := maxOpenFiles(); err == nil && hard > most {
			return fmt.Errorf("above the host's fs.nr_open of %d: request less, or raise fs.nr_open", most)
		}
	}
	return nil
}

func ownRlimit(resource int) (uint64, error) {
	var own unix.Rlimit
	err := unix.Prlimit(0, resource, nil, &own)
	return own.Max, err
}

// canRaiseLimits reports whether hard limits can exceed the process's own
// (setrlimit(2)).
func canRaiseLimits() bool {
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	return err != nil || caps.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE)
}

// maxOpenFiles is the kernel's bound on RLIMIT_NOFILE for every process.
func maxOpenFiles() (uint64, error) {
	b, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// checkSwap checks a task's swap, which does not include its memory.
func (c ceilings) checkSwap(t *pod.Task, config TaskConfig) error {
	most := c.swapBytes
	if most < 0 {
		most = t.Limits.MemoryBytes
	}
	total := t.Limits.MemorySwapBytes
	if most == math.MaxInt64 || total >= 0 && total-t.Limits.MemoryBytes <= most {
		return nil
	}
	return fmt.Errorf("memory_swap = %q is more than %d MiB of swap in addition to the task's memory: the operator can raise swap_max in the plugin's config",
		config.MemorySwap, most/bytesPerMiB)
}

// checkLogs checks the size of the files of one output.
func (c ceilings) checkLogs(l LogsConfig) error {
	most := c.logBytes / bytesPerMiB
	if int64(l.MaxFileSizeMB) > most || int64(l.MaxFiles) > most/int64(l.MaxFileSizeMB) {
		return fmt.Errorf("logs: max_files = %d of max_file_size = %d MiB exceed %d MiB per output: the operator can raise logs_max in the plugin's config",
			l.MaxFiles, l.MaxFileSizeMB, most)
	}
	return nil
}
