test "writes haproxy's configuration" {
  job        = "web.nomad.hcl"
  parameters = { check = ["/usr/bin/redis-cli", "ping"] }
  golden     = "web.golden.hcl"
}

test "quotes the command" {
  job        = "web.nomad.hcl"
  parameters = { check = ["/bin/echo", "it's; $(reboot) `reboot` \"x\" \\ \n#", "--"] }

  assert {
    condition     = group.web.task.health-adapter.Templates[0].EmbeddedTmpl == "#!/bin/sh\nexec '/bin/echo' 'it'\\''s; $(reboot) `reboot` \"x\" \\ \n#' '--'\n"
    error_message = "The shell passes the arguments on as they are."
  }
}

test "refuses an argument that is a template" {
  job        = "web.nomad.hcl"
  parameters = { check = ["/bin/echo", "{{ env \"HOME\" }}"] }
  error      = "{{"
}

test "refuses a relative command" {
  job        = "web.nomad.hcl"
  parameters = { check = ["redis-cli"] }
  error      = "check must begin with an absolute path"
}

test "refuses no command" {
  job        = "web.nomad.hcl"
  parameters = { check = [] }
  error      = "check must be a command"
}

test "refuses a path that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { check = ["/bin/true"], path = "/\n  bind :1" }
  error      = "path must be a path"
}

test "refuses an interval that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { check = ["/bin/true"], interval = "1s disabled" }
  error      = "interval must be a number"
}
