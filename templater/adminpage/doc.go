// Package adminpage is the page that the proxy shows to those who run it: which jobs
// have which sidecars and why, what is to be upgraded, and what was admitted and denied
// of late. The same is there as JSON.
//
// It does not listen, has no log-in, reads no cluster by itself and changes nothing: it
// shows what its Source reads and what it is told of decisions. It keeps nothing but in
// memory, and no token at all.
package adminpage
