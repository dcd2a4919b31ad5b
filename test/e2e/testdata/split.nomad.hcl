# An application whose requests are divided among two versions of a service.
job "split" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "split" {
      versions = {
        stable = { service = "api", weight = 80, tag = "current" }
        canary = { service = "api", weight = 20, tag = "next" }
      }
      cookie     = "version"
      fallback   = "stable"
      check_path = "/healthz"
    }

    task "app" {
      driver = "pod"

      config {
        command = "/bin/sleep"
        args    = ["600"]
      }

      kill_signal = "SIGKILL"

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
