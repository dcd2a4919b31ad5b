// Package catalog fetches catalogs of sidecar definitions from where an address
// says — a git repository, an archive, an OCI registry — keeps copies of them in a
// cache, and pins them in a lock file.
//
// A copy holds definitions and nothing else: archives and repositories are read,
// never unpacked or checked out, so that no path, link, mode, hook or filter of
// theirs has any effect here.
//
// The package neither chooses sidecars nor reads jobs, and what a definition means
// is package sidecar's. Only Getter.Get speaks to a network; Open never does.
package catalog
