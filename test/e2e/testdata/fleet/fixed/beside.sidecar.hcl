sidecar "beside" {
  version = "1.2.0"
  summary = "A process beside the app."

  parameter "command" {
    type        = string
    default     = "/bin/sleep"
    description = "What runs, from version 1.1.0 on."
  }

  task "beside" {
    driver      = "pod"
    kill_signal = "SIGKILL"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    restart {
      attempts = 0
      mode     = "fail"
    }
    config {
      command = "/bin/sleep"
      args    = ["86399"]
    }
    resources {
      cpu    = 20
      memory = 16
    }
  }
}
