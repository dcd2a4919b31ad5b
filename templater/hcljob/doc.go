// Package hcljob treats a job file in HCL as text: it shows what injection needs
// to see of it, and carries out edits so that every other byte stays as it was.
//
// A job is read by a partial schema, with variables, locals and functions
// evaluated as Nomad does, so that a block or attribute of a newer Nomad is no
// obstacle. Only JSON needs Nomad's own parser, which knows every field.
//
// All that injection writes is kept apart from the user's text by comments, so
// that Eject gives back the file byte for byte:
//
//	#sidecar> …      begins lines that were added
//	#sidecar<        ends them
//	#sidecar|…       is a line of the user's that was replaced or taken out
//
// A File is a templater.Document. The edits to apply come from package templater.
package hcljob
