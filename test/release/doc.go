// Package release tests the programs built by make build, and their version: they need no
// library of the host, carry no symbols, are byte-for-byte reproducible in any directory, and
// start on other processors. It has no code of its own, and does not test their features.
package release
