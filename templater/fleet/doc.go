// Package fleet judges the jobs of a cluster by catalog and policy and upgrades those
// that differ in batches, or removes their sidecars.
//
// It accesses Nomad only through an interface. It does not parse command lines and prints
// nothing.
package fleet
