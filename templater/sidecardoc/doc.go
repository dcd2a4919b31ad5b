// Package sidecardoc renders the documentation of sidecar definitions as Markdown, as
// one HTML page, and as text for terminals. It escapes all text from definitions for
// the output format.
//
// It does not load definitions or catalogs.
package sidecardoc
