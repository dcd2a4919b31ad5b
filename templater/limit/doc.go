// Package limit divides a server's connections, requests, memory and upstream connections among
// its clients, so that no client can exhaust them.
//
// The package knows nothing about Nomad or jobs.
package limit
