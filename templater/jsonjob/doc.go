// Package jsonjob treats a job in the JSON of Nomad's API as raw JSON: it builds the view of the
// job for injection and applies edits, and preserves unknown fields, the order of fields,
// numbers and white space.
//
// Both {"Job": {…}} and the bare job are accepted. Keys are matched as in Nomad's decoder:
// without regard to case, and the last of several wins.
//
// A File is a templater.Document. The edits to apply come from package templater.
package jsonjob
