# A task with the config that the test fills in.
job "NAME" {
  type = "batch"

  group "once" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts = 0
    }

    task "once" {
      driver = "pod"

      config {
        CONFIG
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
