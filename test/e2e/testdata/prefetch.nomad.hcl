job "JOB" {
  group "web" {
    update {
      min_healthy_time = "0s"
      healthy_deadline = "2m"
      progress_deadline = "3m"
    }
    task "app" {
      driver = "pod"
      config {
        image      = "IMAGE"
        entrypoint = ["/init", "-P"]
      }
      kill_timeout = "1s"
      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
