// Package cluster is a client of Nomad's HTTP API: it plans and registers jobs as raw
// JSON, so that fields of newer versions survive, and follows evaluations and
// deployments.
//
// It knows nothing of sidecars and prints nothing.
package cluster
