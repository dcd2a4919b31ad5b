package driver_test

import (
	"os"
	"runtime"
	"strings"
)

// Properties of the machine that the tests run on.

func cpus() int { return runtime.NumCPU() }

// ownStatus returns a value from this process's /proc/self/status.
func ownStatus(name string) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func ownBoundingSet() string { return ownStatus("CapBnd") }

func allowedCPUs() string { return ownStatus("Cpus_allowed_list") }
