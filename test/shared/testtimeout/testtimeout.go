// Package testtimeout scales the timeouts of tests for machines that are slow, such as an emulated
// one, or busy.
//
// It is for bounds that are not reached in a passing test. It does not wait.
package testtimeout

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Env names the environment variable that holds the factor, such as "6".
const Env = "POD_TEST_PATIENCE"

// maxForLoad bounds the factor for load, so that a hanging test ends.
const maxForLoad = 8

// Scale multiplies a timeout that is enough on an idle machine by a factor: the one in the
// environment, or on a busy machine twice the number of runnable processes per processor, if
// that is more. A factor that is missing, malformed or below one counts as one.
func Scale(enough time.Duration) time.Duration {
	factor, err := strconv.ParseFloat(os.Getenv(Env), 64)
	if err != nil || !(factor >= 1) { // catches NaN too
		factor = 1
	}
	factor = max(factor, min(2*load()/float64(runtime.NumCPU()), maxForLoad))
	return time.Duration(factor * float64(enough))
}

// load returns the load average of the last minute, or 0 if it cannot be read.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	average, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return average
}
