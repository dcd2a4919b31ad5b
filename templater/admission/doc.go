// Package admission stands in front of Nomad's HTTP API and injects into the jobs that
// are registered, planned and validated there what their meta and a policy choose, or
// denies them. All other requests pass through untouched.
//
// It keeps no state but whose tokens it has seen, adds no token of its own to any
// request, and writes none to its log and its spans. It does not listen, nor send spans
// anywhere; who uses it serves the Handler and brings a Tracer. It cannot see what does
// not come by: jobs registered at another address of the cluster.
package admission
