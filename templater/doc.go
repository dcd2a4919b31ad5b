// Package templater injects sidecars into jobs.
//
// Inject passes a Document, a job in one of its forms (hcljob.File, jsonjob.File), through
// these phases:
//
//	settle     drop skippable policy rules that cannot be applied
//	Choose     select the sidecars of each group and the values of their parameters
//	Reconcile  compare them with earlier injections
//	Plan       compute the edits
//	Apply      apply the edits to the document
//
// The package reads no file and connects to no server. It changes neither job nor
// definition, and the same input produces the same output.
package templater
