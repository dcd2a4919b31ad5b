# One command, once. The words in capitals are filled in by the test.
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
        command = "COMMAND"
        args    = [ARGS]
        share   = [SHARE]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
