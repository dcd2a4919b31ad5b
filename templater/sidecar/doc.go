// Package sidecar reads sidecar definitions: *.sidecar.hcl files that declare the
// parameters of a sidecar, its interface to applications, its requirements on their
// group, and the Nomad blocks that it adds.
//
// A Definition is immutable. Evaluate combines it with parameter values and a Scope,
// which describes one task group, into an Instance: blocks of plain values, ready to be
// written into a job.
//
// The bodies of Nomad's blocks are handled generically, so that blocks and attributes
// of newer Nomad versions need no change here.
//
// The package does not handle job files, the choice of sidecars, or conflicts between a
// sidecar and a job. It reads files only through an fs.FS and never contacts Nomad.
package sidecar
