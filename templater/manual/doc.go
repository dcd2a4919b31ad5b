// Package manual writes the documentation of sidecar definitions: as Markdown, as
// one HTML page, and as text for a terminal. All that a definition says is escaped
// for the form it goes into.
//
// It reads neither files nor catalogs: its pages are made from definitions, and
// what they say is what the definitions say.
package manual
