test "is injected beside the application" {
  job = <<-EOT
    job "example" {
      group "web" {
        network {
          mode = "bridge"
        }
        sidecar "NAME" {}
        task "app" {
          driver = "pod"
        }
      }
    }
  EOT

  assert {
    condition     = group.web.task.NAME.Config.args[1] == ":9100"
    error_message = "It listens on its default port."
  }
  assert {
    condition     = group.web.Networks[0].DynamicPorts[0].To == 9100
    error_message = "The port leads to it."
  }
}

test "refuses a port that is none" {
  parameters = { port = 0 }
  job        = <<-EOT
    job "example" {
      group "web" {
        network {
          mode = "bridge"
        }
        task "app" {
          driver = "pod"
        }
      }
    }
  EOT
  error      = "port must be a whole number between 1 and 65535."
}
