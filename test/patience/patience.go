// Package patience scales the time that tests wait for something before they
// give up, for machines that are slow, such as an emulated one.
//
// It is for bounds that are not reached when all is well. It neither waits nor
// measures.
package patience

import (
	"os"
	"strconv"
	"time"
)

// Env names the environment variable that holds the factor, such as "6".
const Env = "POD_TEST_PATIENCE"

// For is what is enough time on an ordinary machine, times the factor. A
// factor that is missing, malformed or below one counts as one.
func For(enough time.Duration) time.Duration {
	factor, err := strconv.ParseFloat(os.Getenv(Env), 64)
	if err != nil || !(factor >= 1) { // NaN is neither
		return enough
	}
	return time.Duration(factor * float64(enough))
}
