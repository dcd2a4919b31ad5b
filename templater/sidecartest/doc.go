// Package sidecartest runs the tests that are kept beside a definition or a policy: each
// injects the sidecar into a job, or what the policy chooses for it, and compares the
// outcome to what the test expects. Nothing is started and no Nomad is needed.
//
// A test stands in a file <name>/tests/*.sidecartest.hcl:
//
//	test "terminates TLS" {
//	  job        = "web.nomad.hcl"      # a file beside the test, or the job's text
//	  parameters = { app_port = 8080 }  # chooses the sidecar, by flags; none: the job does
//	  variables  = { image = "x" }      # of the job
//
//	  golden = "web.golden.hcl"         # the whole result, digests aside
//	  error  = "app_port must be"       # or a part of the error that is expected
//	  assert {                          # or conditions that must hold
//	    condition     = group.web.task.tls-proxy.Resources.CPU == 50
//	    error_message = "The proxy reserves 50 MHz."
//	  }
//	}
//
// A test of the policy in <folder> stands in <folder>/tests/*.policytest.hcl. It has no
// parameters, and its error may be that of a rule that the job does not meet.
//
// Conditions see group.<name>, with the fields of Nomad's API, and in it
// task.<name>; and job, as the API has it.
package sidecartest
