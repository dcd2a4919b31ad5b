# Many tasks that write numbered lines and end with code 7.
job "JOB" {
  type = "batch"

  group "lines" {
    count = COUNT

    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "lines" {
      driver = "pod"

      config {
        command = "/bin/sh"
        args    = ["-c", "/opt/lines/numberedlines WHAT; exit 7"]

        logs {
          max_files     = MAX_FILES
          max_file_size = MAX_SIZE
        }
      }

      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
