test "writes haproxy's configuration" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001, users = 9002 }, check_path = "/healthz" }
  golden     = "web.golden.hcl"
}

test "speaks tcp, and waits" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { db = 5432 }, mode = "tcp", wait = true, access_log = true, share_pid = true }

  assert {
    condition     = group.web.task.broker.Config.ready[0].http == "http://127.0.0.1:9104/readyz"
    error_message = "The application starts when there are instances."
  }
  assert {
    condition     = strlen(regex_replace(group.web.task.broker.Templates[0].EmbeddedTmpl, "(?s).*(mode tcp\n).*(balance roundrobin\n  option tcplog\n  #).*", "$1$2")) < 60
    error_message = "Connections are forwarded, not requests."
  }
  assert {
    condition     = group.web.task.broker.Config.share == ["ipc", "uts", "pid"]
    error_message = "Its processes are in the pod's PID namespace."
  }
}

test "needs upstreams" {
  job        = "web.nomad.hcl"
  parameters = {}
  error      = "needs a value for parameter \"upstreams\""
}

test "refuses one port for two services" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001, users = 9001 } }
  error      = "upstreams must have different ports"
}

test "refuses its own port" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9104 } }
  error      = "upstreams must have different ports"
}

test "refuses a service that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { "api\n  server evil 10.0.0.1:1" = 9001 } }
  error      = "upstreams must be names of Nomad services"
}

test "refuses a service that is a template" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { "a\" }}{{ env \"HOME" = 9001 } }
  error      = "upstreams must be names of Nomad services"
}

test "refuses a path that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, check_path = "/\n  server evil 10.0.0.1:1" }
  error      = "check_path must be a path"
}

test "refuses a path with a space" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, check_path = "/a HTTP/1.1" }
  error      = "check_path must be a path"
}

test "refuses a path for tcp" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, mode = "tcp", check_path = "/healthz" }
  error      = "needs mode = \"http\""
}

test "refuses a timeout that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, timeout = "1m\n  option x" }
  error      = "timeout must be a number"
}

test "refuses a timeout without a unit" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, connect_timeout = "5" }
  error      = "connect_timeout must be a number"
}

test "refuses a command with arguments" {
  job        = "web.nomad.hcl"
  parameters = { upstreams = { api = 9001 }, command = "/bin/sh -c" }
  error      = "command must be an absolute path"
}

test "needs a network of its own" {
  parameters = { upstreams = { api = 9001 } }
  job        = <<-EOT
    job "web" {
      group "web" {
        task "app" {
          driver = "pod"
        }
      }
    }
  EOT
  error      = "Unusable network mode"
}
