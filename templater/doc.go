// Package templater decides what injecting sidecars changes in a job.
//
// A backend (hcljob for text, jsonjob for raw JSON) shows a job as a job.Job: the few
// things that injection depends on, each with the place it stands at. Choose finds
// out which sidecars go into which group, with which values; Plan turns that into
// Edits, which the backend applies to its own form of the job. Both are pure: they
// read no file, speak to no server and change neither job nor definition, and the
// same input gives the same edits in the same order.
//
// The package does not parse or write jobs.
package templater
