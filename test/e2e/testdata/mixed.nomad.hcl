# Tasks of other drivers in the network namespace of a pod: they ask the pod's
# server.
job "mixed" {
  group "mixed" {
    network {
      mode = "bridge"
    }

    task "server" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/opt/nomad-sidecar/bin/webapp"
        args    = ["-listen", "127.0.0.1:8080"]

        ready {
          tcp = "127.0.0.1:8080"
        }
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }

    dynamic "task" {
      for_each = [DRIVERS]
      labels   = [task.value]

      content {
        driver = task.value

        config {
          command = "/bin/bash"
          args    = ["-c", "SCRIPT"]
        }

        resources {
          cpu    = 20
          memory = 32
        }
      }
    }
  }
}
