job "peers" {
  # Imported from stateful.yaml, document 1: StatefulSet "peers".
  type = "service"

  group "peers" {
    count = 2

    meta {
      app = "peers"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel = 1
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "peer" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "echo I am ${POD_NAME} on $(hostname); exec sleep 3600"]
        hostname   = "peers-${NOMAD_ALLOC_INDEX}"
      }

      env {
        POD_NAME = "peers-${NOMAD_ALLOC_INDEX}"
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

