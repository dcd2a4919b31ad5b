test "writes the agent's configuration" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com:8200", role = "shop", namespace = "team-a", ca_cert = "/etc/ssl/certs/company-ca.pem", secrets = { "database.json" = "secret/data/shop/database", "old.json" = "kv/shop" }, templates = { "app.env" = "PASSWORD={{ with secret \"secret/data/shop/database\" }}{{ .Data.data.password }}{{ end }}\n" } }
  golden     = "web.golden.hcl"
}

test "logs in with a file that stays" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" } }

  assert {
    condition     = regex_replace(group.web.task.vault-agent.Templates[0].EmbeddedTmpl, "(?s).*path = \"/secrets/nomad_agent.jwt\"\n.*remove_jwt_after_reading = false\n.*", "") == ""
    error_message = "The agent would remove Nomad's file, and could not log in again."
  }
}

test "is ready with all files" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a", b = "secret/data/b" }, templates = { c = "x" } }

  assert {
    condition     = group.web.task.vault-agent.Config.ready[0].args == ["-c", "for f; do [ -e \"/vault/$f\" ] || exit 1; done", "ready", "a", "b", "c"]
    error_message = "The application would start without some of its files."
  }
}

test "passes a template on as it is" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", templates = { a = "{{ env \"HOME\" }} \"}\n$${x} %%{y}" } }

  assert {
    condition     = contains([for t in group.web.task.vault-agent.Templates : t.EmbeddedTmpl], "{{ env \"HOME\" }} \"}\n$${x} %%{y}") && length([for t in group.web.task.vault-agent.Templates : t if t.LeftDelim != "<[nomad["]) == 0
    error_message = "The template is Vault Agent's, not Nomad's."
  }
}

test "refuses a template of Nomad" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", templates = { a = "<[nomad[ env \"HOME\" ]nomad]>" } }
  error      = "templates must have texts of 1 to 65536 bytes"
}

test "refuses an address that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com\"\n  tls_skip_verify = true\n  x = \"", role = "shop", secrets = { a = "secret/data/a" } }
  error      = "address must be an https or http URL"
}

test "refuses a role that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop\"\n", secrets = { a = "secret/data/a" } }
  error      = "role must be"
}

test "refuses a mount that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", mount = "jwt\" }", secrets = { a = "secret/data/a" } }
  error      = "mount must be a path"
}

test "refuses a namespace with a reference" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", namespace = "$${env.HOME}", secrets = { a = "secret/data/a" } }
  error      = "namespace must be"
}

test "refuses a path that is a template" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "a\" }}{{ file \"/etc/shadow" } }
  error      = "secrets must have paths in Vault"
}

test "refuses a file elsewhere" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { "../alloc/a" = "secret/data/a" } }
  error      = "secrets must have at most 100 names of files"
}

test "refuses a file with a command" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", templates = { "a\"; reboot; \"" = "x" } }
  error      = "templates must have at most 100 names of files"
}

test "refuses one file twice" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, templates = { a = "x" } }
  error      = "templates and secrets must name at least one file, and none twice"
}

test "refuses nothing" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop" }
  error      = "templates and secrets must name at least one file"
}

test "refuses permissions to write" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, perms = "0666" }
  error      = "perms must be"
}

test "refuses a command with arguments" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, command = "/bin/sh -c" }
  error      = "command must be an absolute path"
}

test "runs its command in an image" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, image = "registry.example.com/x:1", command = "/bin/vault" }

  assert {
    condition     = group.web.task.vault-agent.Config.entrypoint == [""] && group.web.task.vault-agent.Config.command == "/bin/vault"
    error_message = "The image's entrypoint would get the command as an argument."
  }
}

test "refuses an audience with a reference" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, audience = "$${NOMAD_TOKEN}" }
  error      = "audience must be"
}

test "refuses a timeout without a unit" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, start_timeout = "2" }
  error      = "start_timeout must be a number"
}

test "refuses a certificate that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, ca_cert = "/a\"\n  tls_skip_verify = true #" }
  error      = "ca_cert must be an absolute path"
}

test "refuses a user with a space" {
  job        = "web.nomad.hcl"
  parameters = { address = "https://vault.example.com", role = "shop", secrets = { a = "secret/data/a" }, user = "root x" }
  error      = "user must be the name"
}
