# Sleeps. Its deployment fails with the first allocation that does.
job "JOB" {
  update {
    min_healthy_time  = "1s"
    healthy_deadline  = "20s"
    progress_deadline = "0s"
  }
  meta = {
    "sidecar.beside.command" = "COMMAND"
  }

  group "app" {
    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "app" {
      driver      = "pod"
      kill_signal = "SIGKILL"

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
}
