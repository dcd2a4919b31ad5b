// Package catalog fetches catalogs of sidecar definitions from git repositories,
// archives and OCI registries, caches copies, and pins them in a lock file.
//
// A copy holds only definitions: archives and repositories are read, never unpacked
// or checked out, so that their paths, links, modes, hooks and filters have no effect.
//
// The package neither chooses sidecars nor reads jobs, and package sidecar interprets
// the definitions. Only Getter.Get uses the network; Open never does.
package catalog
