test "stands in front of the application" {
  job = "web.nomad.hcl"

  assert {
    condition     = group.web.Networks[0].DynamicPorts[0].Label == "https" && group.web.Networks[0].DynamicPorts[0].To == 9443
    error_message = "The port leads to where the proxy listens."
  }
  assert {
    condition     = group.web.task.app.Env.HTTPS_PORT == "9443"
    error_message = "The application gets its public address."
  }
  assert {
    condition     = group.web.task.tls-proxy.Lifecycle.Hook == "prestart" && group.web.task.tls-proxy.Lifecycle.Sidecar
    error_message = "The proxy is up before the application and stays."
  }
  assert {
    condition     = strlen(regex_replace(group.web.task.tls-proxy.Templates[1].EmbeddedTmpl, "(?s).*(proxy_pass +http://127.0.0.1:8080;).*", "$1")) < 60
    error_message = "nginx forwards to the application's port."
  }
  assert {
    condition     = group.web.task.tls-proxy.Config.args[0] == "$${NOMAD_TASK_DIR}/start.sh"
    error_message = "Nomad's references are left for Nomad."
  }
}

test "shares the PID namespace on request" {
  parameters = { app_port = 8080, listen_port = 9443, share_pid = true }
  job        = "plain.nomad.hcl"

  assert {
    condition     = group.web.task.tls-proxy.Config.share == ["ipc", "uts", "pid"]
    error_message = "The proxy's processes are seen by the pod."
  }
}

test "needs to know the application's port" {
  parameters = {}
  job        = "plain.nomad.hcl"
  error      = "needs a value for parameter \"app_port\""
}

test "does not listen where the application does" {
  parameters = { app_port = 8443 }
  job        = "plain.nomad.hcl"
  error      = "listen_port must differ from app_port"
}

test "refuses a name that is none" {
  parameters = { app_port = 8080, server_name = "a b" }
  job        = "plain.nomad.hcl"
  error      = "server_name must be a DNS name"
}

test "needs a network of its own" {
  parameters = { app_port = 8080 }
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

test "stands in front of two other sidecars" {
  job = "composed.nomad.hcl"

  assert {
    condition     = group.web.task.rate-limit.Config.args[2] == "-app=127.0.0.1:4180"
    error_message = "The limit forwards to the login."
  }
  assert {
    condition     = strlen(regex_replace(group.web.task.tls-proxy.Templates[1].EmbeddedTmpl, "(?s).*(proxy_pass +http://127.0.0.1:8088;).*", "$1")) < 60
    error_message = "TLS forwards to the limit."
  }
}
