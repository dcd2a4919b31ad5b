# Tasks that write numbered lines until a test ends them, with a code of their own.
job "rounds" {
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
        args    = ["-c", "/opt/lines/numberedlines -lines 100000000 -burst 1 -until /alloc/data/stop; exit $((NOMAD_ALLOC_INDEX + 3))"]

        logs {
          max_files     = 30
          max_file_size = 1
        }
      }

      # Nomad reserves disk for all that they may hold.
      logs {
        max_files     = 1
        max_file_size = 1
      }

      resources {
        cpu    = 1
        memory = 10
      }
    }
  }
}
