# An application that calls two services through the broker.
job "shop" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "broker" {
      upstreams       = { api = 9001, other = 9002 }
      check_path      = "/healthz"
      connect_timeout = "500ms"
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
