test "fetches a configuration before the application starts" {
  job = "web.nomad.hcl"

  golden = "web.golden.hcl"
}

test "renders a template" {
  job = "plain.nomad.hcl"
  parameters = {
    app_task     = "app"
    destination  = "app.conf"
    template     = "listen {{ .Values.port }} for $host on {{ .Env.NOMAD_ALLOC_ID }};\n"
    values       = "/volume/web.json"
    volume       = "config"
    user         = "root"
    process      = "nginx"
    http_headers = "X-Token: {{ env \"NOMAD_ALLOC_ID\" }}"
  }

  assert {
    condition     = group.web.task.config-reloader.Templates[0].EmbeddedTmpl == "listen {{ .Values.port }} for $host on {{ .Env.NOMAD_ALLOC_ID }};\n" && group.web.task.config-reloader.Templates[0].LeftDelim == "<<<nomad:"
    error_message = "Nomad does not change the template."
  }
  assert {
    condition = slice(group.web.task.config-reloader.Config.args, 10, 19) == [
      "-source", "$${NOMAD_TASK_DIR}/template", "-render", "-values", "/volume/web.json", "-process", "nginx", "-headers", "$${NOMAD_SECRETS_DIR}/headers",
    ]
    error_message = "The program gets the values to render with."
  }
  assert {
    condition     = group.web.task.config-reloader.Config.cap_add == ["kill"] && group.web.task.config-reloader.Config.cap_drop == ["all"]
    error_message = "Root has the right to signal, and no other."
  }
  assert {
    condition     = group.web.task.app.Config.share == ["ipc", "uts", "pid"]
    error_message = "The application can be seen."
  }
}

test "renders what it fetches" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf", source = "http://10.0.0.1/app.tmpl", render = true }

  assert {
    condition     = slice(group.web.task.config-reloader.Config.args, 10, 13) == ["-source", "http://10.0.0.1/app.tmpl", "-render"]
    error_message = "The source is a template."
  }
}

test "refuses a task that is not there" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "ap", destination = "app.conf", source = "/alloc/data/x" }
  error      = "Invalid index"
}

test "refuses two origins" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf", source = "/alloc/data/x", template = "x" }
  error      = "Give one of source and template"
}

test "refuses no origin" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf" }
  error      = "Give one of source and template"
}

test "refuses a source that is none" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf", source = "web.conf" }
  error      = "source must be a URL"
}

test "refuses values without a template" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf", source = "/alloc/data/x", values = "/alloc/data/y" }
  error      = "values are for templates"
}

test "refuses a place outside" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "../app.conf", source = "/alloc/data/x" }
  error      = "destination must be a path below"
}

test "refuses a place among the logs" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "logs/app.conf", source = "/alloc/data/x" }
  error      = "destination must be a path below"
}

test "refuses a signal that cannot mean to reload" {
  job        = "plain.nomad.hcl"
  parameters = { app_task = "app", destination = "app.conf", source = "/alloc/data/x", signal = "SIGKILL" }
  error      = "signal must be one of"
}

test "cannot signal what other drivers run" {
  parameters = { app_task = "app", destination = "app.conf", source = "/alloc/data/x" }
  job        = <<-EOT
    job "web" {
      group "web" {
        task "app" {
          driver = "docker"
        }
      }
    }
  EOT
  error      = "Task without the pod driver"
}

test "leaves nothing of a template to Nomad" {
  job = "plain.nomad.hcl"
  parameters = {
    app_task    = "app"
    destination = "app.conf"
    template    = "<<<nomad: env \"SECRET\" :nomad>>>"
  }

  error = "which Nomad would take for the beginning"
}
