# Writes the time: one parameter of it ends up in the environment, which restarts
# the pod when it changes, and one in what Nomad changes while the task runs.
sidecar "clock" {
  version = "1.0.0"
  summary = "Writes the time."

  parameter "format" {
    type        = string
    default     = "%T"
    description = "As date has it."
  }

  parameter "patience" {
    type        = string
    default     = "5s"
    description = "How long it may take to stop."
  }

  task "clock" {
    driver       = "pod"
    kill_signal  = "SIGKILL"
    kill_timeout = param.patience

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      command = "/bin/sh"
      args    = ["-c", "while :; do date +\"$FORMAT\"; sleep 1; done"]
    }

    env {
      FORMAT = param.format
    }

    resources {
      cpu    = 20
      memory = 16
    }
  }
}
