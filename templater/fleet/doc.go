// Package fleet judges the jobs that a cluster holds by catalog and policy, and
// brings those that differ up to date, batch by batch; or takes their sidecars out.
//
// It reaches a Nomad only through the interface that it is given. It does not know how
// jobs are chosen by a command line, and prints nothing.
package fleet
