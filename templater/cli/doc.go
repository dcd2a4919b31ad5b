// Package cli is the command line of nomad-sidecar: one file for each verb. A verb
// reads its flags and files, calls the packages that do the work, and writes the
// result to stdout; diagnostics go to stderr.
//
// The package decides nothing about injection.
package cli
