test "ships the logs of all tasks to a file" {
  job = "web.nomad.hcl"

  golden = "web.golden.hcl"
}

test "takes all that it can be told" {
  job = "plain.nomad.hcl"
  parameters = {
    sink         = "https://logs.example.com/in"
    tasks        = ["app", "odd name"]
    exclude      = ["topz"]
    streams      = ["stderr"]
    http_headers = "Authorization: Bearer {{ with nomadVar \"nomad/jobs/web\" }}{{ .token }}{{ end }}"
    volume       = "logs"
    user         = "root"
  }

  assert {
    condition = slice(group.web.task.log-shipper.Config.args, 20, 30) == [
      "-stream", "stderr", "-task", "app", "-task", "odd name", "-exclude", "topz", "-headers", "$${NOMAD_SECRETS_DIR}/headers",
    ]
    error_message = "Lists become flags that are repeated, and no task's name is taken apart."
  }
  assert {
    condition     = group.web.task.log-shipper.Templates[0].DestPath == "secrets/headers" && group.web.task.log-shipper.Templates[0].EmbeddedTmpl == "Authorization: Bearer {{ with nomadVar \"nomad/jobs/web\" }}{{ .token }}{{ end }}"
    error_message = "The headers are a template of Nomad's, in the task's secrets."
  }
  assert {
    condition     = group.web.task.log-shipper.VolumeMounts[0].Volume == "logs" && group.web.task.log-shipper.User == "root"
    error_message = "The volume is mounted, writable for the task's user."
  }
}

test "needs to know where to" {
  parameters = {}
  job        = "plain.nomad.hcl"
  error      = "needs a value for parameter \"sink\""
}

test "refuses a sink that is none" {
  parameters = { sink = "file://alloc/data/all.log" }
  job        = "plain.nomad.hcl"
  error      = "sink must be a URL such as"
}

test "refuses syslog without a port" {
  parameters = { sink = "syslog+tcp://10.0.0.1" }
  job        = "plain.nomad.hcl"
  error      = "sink must be a URL such as"
}

test "refuses a stream that is none" {
  parameters = { sink = "http://x/", streams = ["stdin"] }
  job        = "plain.nomad.hcl"
  error      = "streams must be a list of"
}

test "refuses lines that no datagram holds" {
  parameters = { sink = "syslog+udp://10.0.0.1:514", max_line_bytes = 65000 }
  job        = "plain.nomad.hcl"
  error      = "max_line_bytes must be at most 61411 for syslog+udp"
}

test "refuses a wait that is no duration" {
  parameters = { sink = "http://x/", batch_wait = "1" }
  job        = "plain.nomad.hcl"
  error      = "batch_wait must be a duration such as"
}

test "refuses a facility that is none" {
  parameters = { sink = "syslog+udp://10.0.0.1:514", syslog_facility = "local8" }
  job        = "plain.nomad.hcl"
  error      = "syslog_facility must be user, daemon"
}

test "leaves Nomad's references in a file's name" {
  job = <<-EOT
    job "web" {
      group "web" {
        sidecar "log-shipper" {
          sink = "file:///volume/$${NOMAD_ALLOC_ID}.log"
        }
        task "app" {
          driver = "docker"
        }
      }
    }
  EOT

  assert {
    condition     = group.web.task.log-shipper.Config.args[1] == "file:///volume/$${NOMAD_ALLOC_ID}.log"
    error_message = "Each allocation has a file of its own."
  }
}
