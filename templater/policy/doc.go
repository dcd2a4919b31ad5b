// Package policy reads the rules of a cluster's operators for jobs. Rules are written in HCL; they
// choose sidecars for groups and reject jobs that fail their validations.
//
// The package only evaluates its input and contacts no server. A Policy is immutable and safe for
// concurrent use. The package neither injects nor denies; package templater and its callers do.
package policy
