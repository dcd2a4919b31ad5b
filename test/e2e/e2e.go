// Package e2e tests the two programs as their users run them: a real Nomad
// agent with the driver as an external plugin, and jobs into which the
// templater injected sidecars. Every test runs with each OCI runtime, in a
// sandbox, under the ledger.
//
// It builds nothing: make e2e does that first. What one package can show by
// itself is tested there.
package e2e
