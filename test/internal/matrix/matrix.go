// Package matrix selects how much of the test matrix a run covers, and runs tests with each OCI
// runtime of it. It does not install runtimes.
package matrix

import "os"

// Env names the environment variable that selects the full matrix. `make test-all` sets it.
const Env = "POD_TEST_ALL"

// All reports whether the full matrix is selected.
func All() bool { return os.Getenv(Env) != "" }

// Both returns the OCI runtimes of a test with a result that may depend on the runtime: a test that
// creates, recovers, executes in, measures, stops or attacks containers.
func Both() []string { return []string{"crun", "runc"} }

// One returns the OCI runtimes of every other test: crun, and runc as well in the full matrix.
func One() []string {
	if All() {
		return Both()
	}
	return []string{"crun"}
}
