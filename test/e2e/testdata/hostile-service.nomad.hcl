# Another job of the namespace that registers instances of the service api.
job "hostile" {
  group "hostile" {
    service {
      provider = "nomad"
      name     = "api"
      address  = "EVIL"
      port     = "1"
    }

    service {
      provider = "nomad"
      name     = "api"
      address  = "{{ env `HOME` }}"
      port     = "2"
    }

    service {
      provider = "nomad"
      name     = "api"
      address  = "HOST"
      port     = "PORT"
    }

    task "idle" {
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
