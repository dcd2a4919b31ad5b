job "log-agent" {
  # Imported from daemon.yaml, document 1: DaemonSet "log-agent".
  type = "system"

  group "log-agent" {
    meta {
      app = "log-agent"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel = 2
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "agent" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "echo node $NODE_NAME; exec sleep 3600"]
      }

      env {
        NODE_NAME = "${node.unique.name}"
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

