// Package admission is a reverse proxy for Nomad's HTTP API. It injects the sidecars chosen by a
// job's meta and by a policy into jobs that are registered, planned or validated, or denies the
// request. It passes all other requests through unchanged.
//
// The package keeps no state except a cache of accessors. It adds no token of its own to requests,
// and writes no tokens to logs or spans. It does not listen or export spans; the caller serves the
// Handler and provides a Tracer. It cannot check jobs registered at another address of the cluster.
package admission
