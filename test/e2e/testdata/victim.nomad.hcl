# A task whose pod is broken again and again.
job "victim" {
  group "victim" {
    restart {
      attempts = 1000
      interval = "24h"
      delay    = "0s"
      mode     = "fail"
    }

    task "victim" {
      driver = "pod"

      config {
        command = "/bin/sleep"
        args    = ["100000"]
        share   = ["pid"]
      }

      resources {
        cpu    = 1
        memory = 10
      }
    }
  }
}
