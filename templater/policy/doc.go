// Package policy reads what those who run a cluster say about its jobs: rules, in
// HCL, that choose sidecars for groups and say what is not allowed.
//
// It is pure: it reads what it is given, asks no server, and a Policy is not changed
// by use, so that one may serve many goroutines. It neither injects nor denies
// anything; package templater and who uses it do that.
package policy
