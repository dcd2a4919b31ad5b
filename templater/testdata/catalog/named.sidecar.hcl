# Names its service after the job, as Nomad fills it in when it registers one.
sidecar "named" {
  version = "1.0.0"
  task "named" {
    driver = "pod"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    config {
      command = "named"
    }
  }
  service {
    name     = "$${JOB}-named"
    provider = "nomad"
  }
}
