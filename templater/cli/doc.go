// Package cli is the command line of nomad-sidecar, with one file per command. A command reads
// its flags and files, calls the packages that do the work, and writes the result to stdout;
// diagnostics go to stderr.
//
// The package makes no decisions about injection.
package cli
