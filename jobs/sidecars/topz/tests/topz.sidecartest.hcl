test "sees the processes of the pod" {
  job = "web.nomad.hcl"

  golden = "web.golden.hcl"

  assert {
    condition     = group.web.task.app.Config.share == ["ipc", "uts", "pid"] && group.web.task.topz.Config.share == ["ipc", "uts", "pid"]
    error_message = "The application shares its PID namespace with it."
  }
}

test "does not join a task that refuses to share" {
  parameters = {}
  job        = <<-EOT
    job "web" {
      group "web" {
        network {
          mode = "bridge"
        }
        task "app" {
          driver = "pod"
          config {
            share = []
          }
        }
      }
    }
  EOT
  error      = "Namespace not shared"
}

test "refuses a port that is none" {
  parameters = { port = 8099.5 }
  job        = "web.nomad.hcl"
  error      = "port must be a whole number"
}

test "refuses a relative command" {
  parameters = { command = "topz" }
  job        = "web.nomad.hcl"
  error      = "command must be an absolute path."
}
