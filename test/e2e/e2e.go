// Package e2e tests the two programs as their users run them: a real Nomad
// agent with the driver as an external plugin, and jobs into which the
// templater injected sidecars. Every test runs with each OCI runtime, in a
// sandbox, with the leak check.
//
// It builds nothing: make e2e does that first. Behaviour of a single package is
// tested in that package.
package e2e
