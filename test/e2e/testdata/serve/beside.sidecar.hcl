sidecar "beside" {
  version = "1.0.0"
  summary = "A process beside the app."

  task "beside" {
    driver      = "pod"
    kill_signal = "SIGKILL"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    config {
      command = "/bin/sleep"
      args    = ["86400"]
    }
    resources {
      cpu    = 20
      memory = 16
    }
  }
}
