// Package jsonjob treats a job in the JSON of Nomad's API as raw JSON: it shows
// what injection needs to see of it and carries out edits, while every field that
// it does not know, the order of fields, numbers and white space stay as they are.
//
// Both {"Job": {…}} and the bare job are understood. Keys are matched as Nomad's
// decoder does it: without regard to case, and the last of several wins.
//
// A File is a templater.Document. The edits to apply come from package templater.
package jsonjob
