test "exports redis" {
  job        = "web.nomad.hcl"
  parameters = { kind = "redis", password_variable = "nomad/jobs/web", user = "exporter", service = "web-metrics" }
  golden     = "web.golden.hcl"
}

test "receives StatsD before the application sends" {
  job        = "web.nomad.hcl"
  parameters = { kind = "statsd", args = ["--statsd.mapping-config=/alloc/mapping.yml"] }

  assert {
    condition = group.web.task.exporter.Config.args == [
      "--statsd.listen-udp=127.0.0.1:9125", "--statsd.listen-tcp=127.0.0.1:9125", "--web.listen-address=:9107",
      "--statsd.mapping-config=/alloc/mapping.yml",
    ]
    error_message = "It gets its addresses."
  }
  assert {
    condition     = group.web.task.exporter.Lifecycle.Hook == "prestart"
    error_message = "It starts first."
  }
}

test "connects to PostgreSQL" {
  job        = "web.nomad.hcl"
  parameters = { kind = "postgres", address = "db.example.com:5433", database = "shop", password_variable = "nomad/jobs/web" }

  assert {
    condition     = group.web.task.exporter.Env == { DATA_SOURCE_URI = "db.example.com:5433/shop?sslmode=disable", DATA_SOURCE_USER = "postgres" }
    error_message = "It gets the server's address."
  }
}

test "connects to MySQL" {
  job        = "web.nomad.hcl"
  parameters = { kind = "mysqld", user = "shop", password_variable = "nomad/jobs/web" }

  assert {
    condition     = group.web.task.exporter.Templates[0].EmbeddedTmpl == "[client]\nhost = 127.0.0.1\nport = 3306\nuser = shop\npassword = {{ with nomadVar \"nomad/jobs/web\" }}`{{ .password.Value }}`{{ end }}\n"
    error_message = "It gets the server's address."
  }
}

test "refuses an unknown kind" {
  job        = "web.nomad.hcl"
  parameters = { kind = "oracle" }
  error      = "kind must be redis"
}

test "refuses an address that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { kind = "mysqld", address = "127.0.0.1:3306\npassword = x" }
  error      = "address must be host:port"
}

test "refuses a user that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { kind = "mysqld", user = "a\npassword = x" }
  error      = "user must be letters"
}

test "refuses a database with options" {
  job        = "web.nomad.hcl"
  parameters = { kind = "postgres", database = "a?host=evil" }
  error      = "database must be letters"
}

test "refuses a password that it cannot use" {
  job        = "web.nomad.hcl"
  parameters = { kind = "nginx", password_variable = "nomad/jobs/web" }
  error      = "needs kind redis, postgres or mysqld"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { kind = "redis", password_variable = "a\" }}{{ env \"HOME" }
  error      = "password_variable must be the path"
}

test "needs a password for MySQL" {
  job        = "web.nomad.hcl"
  parameters = { kind = "mysqld" }
  error      = "password_variable is needed for kind mysqld"
}

test "refuses an argument that is no flag" {
  job        = "web.nomad.hcl"
  parameters = { kind = "redis", args = ["evil"] }
  error      = "args must be flags"
}
