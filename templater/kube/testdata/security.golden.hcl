job "confined" {
  # Imported from security.yaml, document 1: Pod "confined".
  type = "service"

  group "confined" {
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

    task "confined" {
      driver       = "pod"
      user         = "1000:3000"
      kill_timeout = "30s"

      config {
        image = "busybox:1.36"
        entrypoint = [
          "sh",
          "-c",
          "id; touch /tmp/x || echo read-only; touch /scratch/x && echo scratch; exec sleep 3600",
        ]
        group_add       = ["2000"]
        cap_drop        = ["all"]
        readonly_rootfs = true
        sysctl = {
          "net.ipv4.ip_unprivileged_port_start" = "80"
        }
        volumes = ["../alloc/data:/scratch"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

