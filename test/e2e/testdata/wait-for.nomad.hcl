# An application that needs a server, which listens only when told to by a
# file. The words in capitals are filled in by the test.
job "wait-for" {
  group "web" {
    network {
      mode = "bridge"
    }

    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }

    sidecar "wait-for" {
      targets      = [TARGETS]
      timeout      = "TIMEOUT"
      interval     = "50ms"
      max_interval = "200ms"
    }

    task "server" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/bin/sh"
        args    = ["-c", "until [ -e /alloc/open ]; do sleep 0.05; done; date +%s%N > /alloc/opened; exec /opt/nomad-sidecar/bin/webapp -listen 127.0.0.1:8080"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }

    task "app" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
