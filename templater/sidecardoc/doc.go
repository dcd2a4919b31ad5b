// Package sidecardoc renders the documentation of sidecar definitions as Markdown, as
// one HTML page, as a site of a whole catalog in one file, and as text for terminals. It
// escapes all text from definitions and their READMEs for the output format.
//
// It does not load definitions or catalogs.
package sidecardoc
