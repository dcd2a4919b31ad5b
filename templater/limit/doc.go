// Package limit divides connections, requests, memory and upstream connections among the
// clients of a server, so that no client can use up what the others need.
//
// It knows nothing of Nomad and of jobs.
package limit
