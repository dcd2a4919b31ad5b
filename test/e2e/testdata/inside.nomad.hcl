# A task that waits to be inspected from inside. The words in capitals are
# filled in by the test.
job "NAME" {
  group "inside" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }

    GROUP

    task "inside" {
      driver = "pod"

      TASK

      config {
        command = "/bin/sh"
        args    = ["-c", "SCRIPT"]
        CONFIG
      }

      resources {
        RESOURCES
      }
    }
  }
}
