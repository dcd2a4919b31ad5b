// Package hcljob treats a job file in HCL as text: it builds the view of the job for injection,
// and applies edits that preserve every other byte.
//
// A job is read with a partial schema, and variables, locals and functions are evaluated as
// Nomad does, so a block or attribute of a newer Nomad is not an error. Only JSON output needs
// Nomad's own parser, which knows every field.
//
// Comments separate all injected text from the user's text, so that Eject restores the file
// byte for byte:
//
//	#sidecar> …      begins added lines
//	#sidecar<        ends them
//	#sidecar|…       is a line of the user that was replaced or disabled
//
// A File is a templater.Document. The edits to apply come from package templater.
package hcljob
