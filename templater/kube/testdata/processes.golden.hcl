job "together" {
  # Imported from processes.yaml, document 1: Pod "together".
  type = "service"

  group "together" {
    count = 1

    network {
      mode = "bridge"

      dns {
        servers  = ["192.0.2.53"]
        searches = ["example.org"]
        options  = ["ndots:2"]
      }
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "app" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image       = "busybox:1.36"
        entrypoint  = ["sleep", "3611"]
        share       = ["ipc", "uts", "pid"]
        hostname    = "together-host"
        extra_hosts = ["printer:192.0.2.7", "scanner:192.0.2.7"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    task "watcher" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image       = "busybox:1.36"
        entrypoint  = ["sh", "-c", "exec sleep 3612"]
        share       = ["ipc", "uts", "pid"]
        hostname    = "together-host"
        extra_hosts = ["printer:192.0.2.7", "scanner:192.0.2.7"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

