test "writes Fluent Bit's configuration" {
  job        = "web.nomad.hcl"
  parameters = { output = "loki", settings = { host = "loki.example.com", port = "443", tls = "on", labels = "job=\"web\", it's # not: a comment" }, secrets_variable = "nomad/jobs/shop/fluent-bit", json = true, exclude = ["debug"] }
  golden     = "web.golden.hcl"
}

test "waits before the signal" {
  job        = "web.nomad.hcl"
  parameters = { output = "http" }

  assert {
    condition     = group.web.task.fluent-bit.ShutdownDelay == 3000000000 && group.web.task.fluent-bit.KillTimeout == 15000000000
    error_message = "The last lines would not be read."
  }
}

test "drops nothing" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", memory = 64 }

  assert {
    condition     = regex_replace(group.web.task.fluent-bit.Templates[0].EmbeddedTmpl, "(?s).*(max_chunks_up: 8\n).*(storage.type: filesystem\n).*(storage.pause_on_chunks_overlimit: on\n).*(retry_limit: no_limits)\n.*", "") == ""
    error_message = "It retries for ever, and reads no more than it can keep."
  }
}

test "does not send its own lines" {
  job        = "web.nomad.hcl"
  parameters = { output = "http" }

  assert {
    condition     = regex_replace(group.web.task.fluent-bit.Templates[0].EmbeddedTmpl, "(?s).*\n *exclude_path: /alloc/logs/fluent-bit.stdout.\\[0-9\\]\\*,/alloc/logs/fluent-bit.stderr.\\[0-9\\]\\*\n.*", "") == ""
    error_message = "A line about a line would never end."
  }
}

test "refuses an output that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { output = "http\n    - name: file" }
  error      = "output must be the name"
}

test "refuses a property that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", settings = { "a: b\n    - name" = "file" } }
  error      = "settings must have at most 100 names"
}

test "refuses a value of two lines" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", settings = { host = "a\nb" } }
  error      = "settings must have values of one line"
}

test "refuses a value with a reference" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", settings = { host = "$${HOME}" } }
  error      = "settings must have values of one line"
}

test "refuses a value that is a template" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", settings = { host = "{{ env \"HOME\" }}" } }
  error      = "settings must have values of one line"
}

test "refuses to drop lines" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", settings = { Retry_Limit = "1" } }
  error      = "settings must not have name, match"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", secrets_variable = "a\" }}{{ env \"HOME" }
  error      = "secrets_variable must be the path"
}

test "refuses a task that is a pattern" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", exclude = ["*"] }
  error      = "exclude must be at most 100 names of tasks"
}

test "refuses a task that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", exclude = ["a\n      path: /etc/shadow"] }
  error      = "exclude must be at most 100 names of tasks"
}

test "refuses a command with arguments" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", command = "/bin/sh -c" }
  error      = "command must be an absolute path"
}

test "runs its command in an image" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", image = "registry.example.com/x:1", command = "/fluent-bit/bin/fluent-bit" }

  assert {
    condition     = group.web.task.fluent-bit.Config.entrypoint == [""] && group.web.task.fluent-bit.Config.command == "/fluent-bit/bin/fluent-bit"
    error_message = "The image's entrypoint would get the command as an argument."
  }
}

test "refuses lines without a bound" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", max_line = 9000 }
  error      = "max_line must be a whole number"
}

test "refuses a port of root" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", admin_port = 80 }
  error      = "admin_port must be a whole number"
}

test "refuses too little memory" {
  job        = "web.nomad.hcl"
  parameters = { output = "http", memory = 32 }
  error      = "memory must be a whole number"
}
