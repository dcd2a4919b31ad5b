// Package sidecartest runs the tests of a definition or a policy. Each test injects a sidecar, or
// the sidecars that the policy chooses, into a job and compares the result with the expected one.
// Tests start nothing and need no Nomad.
//
// Tests are in files <name>/tests/*.sidecartest.hcl:
//
//	test "terminates TLS" {
//	  job        = "web.nomad.hcl"      # a file in the test's folder, or the job's text
//	  parameters = { app_port = 8080 }  # choose the sidecar by flags; omit if the job's meta does
//	  variables  = { image = "x" }      # of the job
//
//	  golden = "web.golden.hcl"         # the whole result, except digests
//	  error  = "app_port must be"       # or a part of the expected error
//	  assert {                          # or conditions that must hold
//	    condition     = group.web.task.tls-proxy.Resources.CPU == 50
//	    error_message = "The proxy reserves 50 MHz."
//	  }
//	}
//
// Tests of the policy in <folder> are in <folder>/tests/*.policytest.hcl. They have no parameters,
// and their error may come from a failed validation.
//
// Conditions may refer to group.<name> and group.<name>.task.<name>, with the fields of Nomad's
// API, and to job in the form of the API.
package sidecartest
