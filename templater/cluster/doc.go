// Package cluster speaks to the HTTP API of a Nomad: it plans and registers jobs
// given as raw JSON, so that fields of a newer Nomad arrive there, and follows what
// becomes of them.
//
// It knows nothing of sidecars and prints nothing.
package cluster
