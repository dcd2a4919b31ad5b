// Package analyze finds faults of a job as a workload: what Nomad accepts and what then does not
// work, or works only until something stops. Every finding has a code, a severity, a position and
// a fix; the table of codes is also the documentation, docs/analyze.md.
//
// A value that cannot be evaluated, or that only a client knows, causes no finding that assumes
// one. The package reads no file and contacts no server, and it does not repeat the validation that
// Nomad itself does with full knowledge of the cluster.
package analyze
