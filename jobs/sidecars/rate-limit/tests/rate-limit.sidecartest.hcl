test "stands in front of the application" {
  parameters = { app_port = 8080, rate = 0.5 }
  job        = "web.nomad.hcl"

  assert {
    condition = group.web.task.rate-limit.Config == {
      command = "/opt/nomad-sidecar/bin/rate-limit"
      args = [
        "-listen=:8088", "-admin=:9103", "-app=127.0.0.1:8080",
        "-rate=0.5", "-max-clients=10000", "-max-concurrent=0",
      ]
    }
    error_message = "It gets the application's address and the rate."
  }
  assert {
    condition     = group.web.Networks[0].DynamicPorts[*].Label == ["rate-limit", "rate-limit-admin"] && group.web.Networks[0].DynamicPorts[*].To == [8088, 9103]
    error_message = "The ports lead to where it listens."
  }
  assert {
    condition     = group.web.task.rate-limit.Lifecycle.Hook == "prestart" && group.web.task.rate-limit.Lifecycle.Sidecar
    error_message = "It is up before the application and stays."
  }
}

test "takes all that it can be told" {
  parameters = {
    app_port        = 8080
    rate            = 100
    burst           = 1000000
    global_rate     = 500
    global_burst    = 600
    max_concurrent  = 50
    max_clients     = 2000000
    key_header      = "X-Api-Key"
    trusted_proxies = ["127.0.0.1", "fd00::/8"]
    share_pid       = true
  }
  job = "web.nomad.hcl"

  assert {
    condition = slice(group.web.task.rate-limit.Config.args, 3, 12) == [
      "-rate=100", "-max-clients=2000000", "-max-concurrent=50", "-burst=1000000",
      "-global-rate=500", "-global-burst=600", "-key-header=X-Api-Key",
      "-trusted-proxy=127.0.0.1", "-trusted-proxy=fd00::/8",
    ]
    error_message = "They are on its command line."
  }
  assert {
    condition     = group.web.task.rate-limit.Config.share == ["ipc", "uts", "pid"]
    error_message = "Its processes are seen by the pod."
  }
}

test "stands behind tls-proxy" {
  job = <<-EOT
    job "web" {
      group "web" {
        network {
          mode = "bridge"
        }
        sidecar "tls-proxy" {
          app_port    = 8088
          self_signed = true
        }
        sidecar "rate-limit" {
          app_port        = 8080
          rate            = 10
          trusted_proxies = ["127.0.0.1"]
        }
        task "app" {
          driver = "pod"
        }
      }
    }
  EOT

  assert {
    condition     = group.web.Networks[0].DynamicPorts[*].Label == ["rate-limit", "rate-limit-admin", "https"]
    error_message = "Both are in the group."
  }
}

test "needs a rate" {
  parameters = { app_port = 8080 }
  job        = "web.nomad.hcl"
  error      = "needs a value for parameter \"rate\""
}

test "refuses a rate of nothing" {
  parameters = { app_port = 8080, rate = 0 }
  job        = "web.nomad.hcl"
  error      = "rate must be more than 0"
}

test "does not listen where the application does" {
  parameters = { app_port = 9103, rate = 1 }
  job        = "web.nomad.hcl"
  error      = "admin_port must differ from app_port and listen_port"
}

test "refuses a global burst without a rate" {
  parameters = { app_port = 8080, rate = 1, global_burst = 5 }
  job        = "web.nomad.hcl"
  error      = "needs global_rate"
}

test "refuses the name of a proxy" {
  parameters = { app_port = 8080, rate = 1, trusted_proxies = ["proxy.example.com"] }
  job        = "web.nomad.hcl"
  error      = "trusted_proxies must be addresses or networks"
}
