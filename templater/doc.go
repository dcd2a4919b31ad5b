// Package templater injects sidecars into jobs.
//
// Inject takes a Document, a job in one of its forms (hcljob.File, jsonjob.File), through
// these phases:
//
//	settle     drop the rules of the policy that may be skipped and must be
//	Choose     find the sidecars of each group and the values of their parameters
//	Reconcile  compare them with what was injected before
//	Plan       compute the edits
//	Apply      let the document carry them out
//
// The package reads no file and connects to no server. It changes neither job nor
// definition, and the same input gives the same output.
package templater
