// Package kube translates Kubernetes manifests to Nomad jobs in HCL, for the pod driver.
//
// A table has an entry for every field of the types that it reads. A field that is set in a
// manifest and has no equivalent, or needs a decision, becomes a Finding and a comment in the job.
//
// The package reads no files, contacts no cluster, and never writes the value of a Secret into a
// job.
package kube
