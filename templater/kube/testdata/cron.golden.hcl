job "backup" {
  # Imported from cron.yaml, document 1: CronJob "backup".
  type = "batch"

  periodic {
    crons            = ["30 2 * * *"]
    time_zone        = "Europe/Berlin"
    prohibit_overlap = true
  }

  group "backup" {
    count = 1

    network {
      mode = "bridge"
    }

    restart {
      attempts = 3
      interval = "24h"
      delay    = "10s"
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "dump" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c"]
        args = [
          <<EOT
set -eu
name="backup of $$${DATABASE}"
echo "$$${name} is done"
EOT
          ,
        ]
      }

      env {
        DATABASE = "shop \"main\""
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

