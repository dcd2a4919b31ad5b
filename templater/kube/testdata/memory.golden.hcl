job "in-memory" {
  # Imported from memory.yaml, document 1: Pod "in-memory".
  type = "service"

  group "in-memory" {
    count = 1

    network {
      mode = "bridge"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "writer" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "echo hot > /cache/file; exec sleep 3600"]

        pod_volume "cache" {
          target = "/cache"
          size   = "8m"
        }
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    task "reader" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "busybox:1.36"
        entrypoint = [
          "sh",
          "-c",
          "until [ -e /mnt/cache/file ]; do sleep 1; done; cat /mnt/cache/file; exec sleep 3600",
        ]

        pod_volume "cache" {
          target   = "/mnt/cache"
          size     = "8m"
          readonly = true
        }
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

