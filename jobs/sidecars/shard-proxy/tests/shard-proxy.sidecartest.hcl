test "writes nutcracker's configuration" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "redis-a", b = "redis-b.example.com:6379" }, password_variable = "nomad/jobs/web" }
  golden     = "web.golden.hcl"
}

test "is for caches too" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "10.0.0.1:11211", b = "10.0.0.2:11211" }, protocol = "memcached", eject = true, hash_tag = false }

  assert {
    condition     = strlen(regex_replace(group.web.task.shard-proxy.Templates[0].EmbeddedTmpl, "(?s).*(redis: false\n).*(auto_eject_hosts: true\n).*(- 10.0.0.1:11211:1 a\n).*", "$1$2$3")) < 80
    error_message = "A failed shard is left out."
  }
}

test "refuses a server that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "10.0.0.1:6379:1 a\n  - 10.0.0.2:6379:1 b" } }
  error      = "shards must be names of Nomad services, or host:port"
}

test "refuses a service that is a template" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "{{ env \"HOME\" }}" } }
  error      = "shards must be names of Nomad services, or host:port"
}

test "refuses a shard without a name" {
  job        = "web.nomad.hcl"
  parameters = { shards = { "" = "redis" } }
  error      = "shards must have names"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "redis" }, password_variable = "a\" }}{{ env \"HOME" }
  error      = "password_variable must be the path of a Nomad variable"
}

test "refuses a password for memcached" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "memcached" }, protocol = "memcached", password_variable = "nomad/jobs/web" }
  error      = "needs protocol = \"redis\""
}

test "refuses one port for both" {
  job        = "web.nomad.hcl"
  parameters = { shards = { a = "redis" }, stats_port = 9020 }
  error      = "listen_port must differ from stats_port"
}
