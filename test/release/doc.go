// Package release tests the programs built by make build, and their version: they need no
// library of the host, carry no symbols, and are byte-for-byte reproducible in any directory.
// It has no code of its own, and runs none of the programs.
package release
