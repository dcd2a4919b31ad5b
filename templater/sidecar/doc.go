// Package sidecar reads sidecar definitions: *.sidecar.hcl files that say which
// parameters a sidecar takes, what it offers to the applications beside it, what
// it requires of their group, and which Nomad blocks it brings.
//
// A Definition is immutable once it is parsed. Evaluate turns it, with the values
// of its parameters and a Scope that describes one task group, into an Instance:
// blocks whose expressions are all plain values, ready to be written into a job.
//
// The bodies of Nomad's own blocks are carried generically, so that a block or
// attribute of a newer Nomad needs no change here.
//
// The package knows nothing of job files, of choosing sidecars, or of conflicts
// between a sidecar and a job; it reads files only through an fs.FS and never
// speaks to Nomad.
package sidecar
