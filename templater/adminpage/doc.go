// Package adminpage is the proxy's page for operators: the sidecars of each job and the
// reasons for them, available upgrades, and recent admission decisions. The same data
// is available as JSON.
//
// It does not listen, has no authentication, does not contact a cluster itself and
// changes nothing: it shows data from its Source and the decisions reported to it. It
// stores everything in memory, and no tokens.
package adminpage
