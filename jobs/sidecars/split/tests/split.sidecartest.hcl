test "writes haproxy's configuration" {
  job = "web.nomad.hcl"
  parameters = {
    versions = {
      stable = { service = "api", weight = 75 }
      canary = { service = "api-canary", weight = 25, tag = "next" }
      old    = { service = "api-old", weight = 0 }
    }
    cookie     = "version"
    fallback   = "stable"
    check_path = "/healthz"
  }
  golden = "web.golden.hcl"
}

test "is only for the application unless exposed" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } } }

  assert {
    condition     = group.web.Networks[0].DynamicPorts[*].Label == ["split-admin"]
    error_message = "Nothing but the admin port is visible."
  }
  assert {
    condition     = strlen(regex_replace(group.web.task.split.Templates[0].EmbeddedTmpl, "(?s).*(bind 127.0.0.1:9010\n).*", "$1")) < 60
    error_message = "It listens on loopback."
  }
}

test "is a port of the group if exposed" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } }, expose = true }

  assert {
    condition     = group.web.Networks[0].DynamicPorts[*].Label == ["split", "split-admin"]
    error_message = "Others can connect."
  }
  assert {
    condition     = strlen(regex_replace(group.web.task.split.Templates[0].EmbeddedTmpl, "(?s).*(bind :9010\n).*", "$1")) < 60
    error_message = "It listens on all addresses."
  }
}

test "refuses one version" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 } } }
  error      = "versions must name 2 to 20 versions"
}

test "refuses versions that get nothing" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 0 }, b = { service = "b", weight = 0 } } }
  error      = "versions must have at least one weight above 0"
}

test "refuses a negative weight" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = -1 } } }
  error      = "versions must have whole numbers from 0 to 100"
}

test "refuses a version that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, "b }\n  server evil 10.0.0.1:1" = { service = "b", weight = 1 } } }
  error      = "versions must have names of lower case letters"
}

test "refuses a service that is a template" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "{{ env \"HOME\" }}", weight = 1 } } }
  error      = "versions must have names of Nomad services"
}

test "refuses a tag that is a template" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1, tag = "\") }}" } } }
  error      = "versions must have tags"
}

test "refuses a header that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } }, header = "X) if { always_true" }
  error      = "header must be the name of a header"
}

test "refuses a cookie that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } }, cookie = "a; Domain=b" }
  error      = "cookie must be the name of a cookie"
}

test "refuses an unknown fallback" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } }, fallback = "c" }
  error      = "fallback must be one of versions"
}

test "refuses one port for both" {
  job        = "web.nomad.hcl"
  parameters = { versions = { a = { service = "a", weight = 1 }, b = { service = "b", weight = 1 } }, listen_port = 9105 }
  error      = "admin_port must differ from listen_port"
}
