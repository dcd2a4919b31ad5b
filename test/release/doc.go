// Package release holds a test of the programs as make build makes them: that
// they need no library of the host, carry no symbols, and are the same bytes
// wherever they are built. It has no code of its own, and runs none of them.
package release
