test "ends before the application starts" {
  parameters = { targets = ["tcp://db:5432", "dns://db"], timeout = "90s" }
  job        = "web.nomad.hcl"

  assert {
    condition     = group.web.task.wait-for.Lifecycle.Hook == "prestart" && !group.web.task.wait-for.Lifecycle.Sidecar
    error_message = "It is a prestart task, and no sidecar."
  }
  assert {
    condition     = group.web.task.wait-for.RestartPolicy.Attempts == 0 && group.web.task.wait-for.RestartPolicy.Mode == "fail"
    error_message = "Giving up fails the allocation."
  }
  assert {
    condition = group.web.task.wait-for.Config.args == [
      "-target", "tcp://db:5432", "-target", "dns://db",
      "-timeout", "90s", "-interval", "1s", "-max-interval", "15s", "-attempt-timeout", "5s",
    ]
    error_message = "Its targets are on its command line."
  }
  assert {
    condition     = group.web.task.app.Config == { command = "app" }
    error_message = "The application is not changed."
  }
}

test "takes statuses and a certificate authority" {
  parameters = { targets = ["https://auth/health"], status = [200, 401], ca_file = "/alloc/ca.pem" }
  job        = "web.nomad.hcl"

  assert {
    condition     = slice(group.web.task.wait-for.Config.args, 10, 14) == ["-status", "200,401", "-ca-file", "/alloc/ca.pem"]
    error_message = "They are on its command line."
  }
}

test "leaves Nomad's references for Nomad" {
  parameters = { targets = ["tcp://$${attr.unique.network.ip-address}:8500"] }
  job        = "web.nomad.hcl"

  assert {
    condition     = group.web.task.wait-for.Config.args[1] == "tcp://$${attr.unique.network.ip-address}:8500"
    error_message = "The client fills them in."
  }
}

test "needs something to wait for" {
  parameters = { targets = [] }
  job        = "web.nomad.hcl"
  error      = "targets must name at least one address"
}

test "refuses what is no address" {
  parameters = { targets = ["tcp://db:5432", "db:5432"] }
  job        = "web.nomad.hcl"
  error      = "targets must be addresses as tcp://HOST:PORT"
}

test "refuses a number for a duration" {
  parameters = { targets = ["dns://db"], timeout = "90" }
  job        = "web.nomad.hcl"
  error      = "timeout must be a duration such as 90s or 5m."
}

test "refuses what is no status" {
  parameters = { targets = ["http://db"], status = [20] }
  job        = "web.nomad.hcl"
  error      = "status must be HTTP statuses"
}
