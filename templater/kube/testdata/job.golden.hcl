job "indexed" {
  # Imported from job.yaml, document 1: Job "indexed".
  type = "batch"

  group "indexed" {
    count = 2

    network {
      mode = "bridge"
    }

    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts       = 2
      interval       = "24h"
      delay          = "10s"
      delay_function = "exponential"
      max_delay      = "6m"
      unlimited      = false
    }

    task "work" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "echo part $$${JOB_COMPLETION_INDEX} of 2 on $$${HOSTNAME}"]
        hostname   = "indexed-${NOMAD_ALLOC_INDEX}"
      }

      env {
        JOB_COMPLETION_INDEX = "${NOMAD_ALLOC_INDEX}"
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

