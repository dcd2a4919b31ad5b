job "with-sidecar" {
  # Imported from sidecar.yaml, document 1: Deployment "with-sidecar".
  type = "service"

  group "with-sidecar" {
    count = 1

    meta {
      app = "with-sidecar"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "proxy" {
      driver       = "pod"
      kill_timeout = "30s"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "sleep 1; touch /shared/ready; exec sleep 3600"]
        volumes    = ["../alloc/data:/shared"]

        ready {
          exec     = ["test", "-e", "/shared/ready"]
          interval = "1s"
          timeout  = "1m"
        }
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    task "app" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "busybox:1.36"
        entrypoint = [
          "sh",
          "-c",
          "if [ -e /shared/ready ]; then echo the proxy was ready; fi; exec sleep 3600",
        ]
        volumes = ["../alloc/data:/shared:ro"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

