# Strings that are hard to carry, in every place where a string can stand.
sidecar "awkward" {
  version = "0.1.0"
  parameter "text" {
    type    = string
    default = "plain"
  }
  parameter "extra" {
    type    = bool
    default = true
  }
  locals {
    # What Nomad would interpret, in a driver's config and in a template, is refused.
    argument = replace(replace(param.text, "$", ""), "%", "")
    text     = "line\n${replace(param.text, "{", "")}\n"
  }
  requires {
    after = ["viewer"]
  }
  task "awkward" {
    driver = "pod"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    config {
      command = "${NOMAD_TASK_DIR}/run"
      args = [
        local.argument, "%i", "[[ .x ]]", "{{ y }}", "$${LITERAL}", "%%{if}", "$$${three}", "\u0000\u007f",
        "${attr.kernel.name}${meta.x}", node.unique.name, "${env["HOME"]}", "$", "%", "a\r\nb\r\n",
      ]
      ready {
        exec = ["true"]
      }
      ulimit {
        nofile = "1:2"
      }
    }
    env {
      TEXT = param.text
      TASK = "${join(",", app.tasks)} of ${group.name} in ${job.id}"
    }
    meta {
      mine = param.text
    }
    template {
      destination = "local/a"
      data        = <<-EOT
        {{ range service "x" }}%i[[ z ]]$${}%%{}
        ${NOMAD_PORT_http} ${replace(param.text, "{", "")}
      EOT
    }
    dynamic "template" {
      for_each = [param.text]
      content {
        destination = "local/b"
        data        = template.value
      }
    }
    service {
      enabled  = param.extra
      name     = "awkward-${group.name}"
      provider = "nomad"
      tags     = [param.text]
      check {
        type     = "tcp"
        interval = "10s"
        timeout  = "2s"
      }
    }
  }
  app {
    env {
      AWKWARD = param.text
    }
    config {
      dns    = ["1.1.1.1", "8.8.8.8"]
      labels = { text = local.argument }
    }
    template {
      enabled     = param.extra
      destination = "local/awkward"
      data        = local.text
    }
  }
}
