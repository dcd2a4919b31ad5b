# One task that burns CPU and takes memory when told to by files, one that does
# nothing, and metrics beside them.
job "metrics" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "metrics" {
      service = "web-metrics"
    }

    task "busy" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sh"
        args    = ["-c", "until [ -e /alloc/burn ]; do sleep 0.02; done; x=$(head -c 16000000 /dev/zero | tr '\\0' x); while :; do :; done"]
      }

      resources {
        cpu    = 50
        memory = 128
      }
    }

    task "idle" {
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
