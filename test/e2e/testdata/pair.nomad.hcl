# Two groups with the same sidecar, which the variable changes in one of them.
variable "format" {
  default = "%T"
}

job "pair" {
  group "one" {
    sidecar "clock" {
      format = var.format
    }

    task "app" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }

  group "two" {
    sidecar "clock" {}

    task "app" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
