test "passes values as arguments" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com/realms/staff", secrets_variable = "nomad/jobs/shop", email_domains = ["example.com"], allowed_groups = ["shop-admins"], public_paths = ["/healthz", "/v1.json"] }
  golden     = "web.golden.hcl"
}

test "keeps sessions in redis" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], redis_address = "10.0.0.5:6379" }

  assert {
    condition     = contains(group.web.task.oauth2-proxy.Config.args, "--session-store-type=redis") && contains(group.web.task.oauth2-proxy.Config.args, "--redis-connection-url=redis://10.0.0.5:6379")
    error_message = "Sessions are not in the cookie."
  }
}

test "has a cookie that browsers keep without TLS" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "http://shop.internal:8000", issuer_url = "https://login.example.com/", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }

  assert {
    condition     = contains(group.web.task.oauth2-proxy.Config.args, "--cookie-secure=false") && contains(group.web.task.oauth2-proxy.Config.args, "--cookie-name=_oauth2_proxy")
    error_message = "A Secure cookie over HTTP is a redirect loop."
  }
}

test "does not believe forwarded headers" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }

  assert {
    condition     = length([for a in group.web.task.oauth2-proxy.Config.args : a if substr(a, 0, 15) == "--reverse-proxy"]) == 0
    error_message = "A client could name a public path in X-Forwarded-Uri."
  }
}

test "refuses a public path that is an expression" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], public_paths = ["/.*|/"] }
  error      = "public_paths must be"
}

test "refuses a public path with a line break" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], public_paths = ["/a\n/b"] }
  error      = "public_paths must be"
}

test "refuses an address with a path" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com/oauth2", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }
  error      = "public_url must be"
}

test "refuses an address with a reference" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://$${upper(\"x\")}", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }
  error      = "public_url must be"
}

test "refuses an issuer with a password" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://user:password@login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }
  error      = "issuer_url must be"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "a\" }}{{ env \"HOME", email_domains = ["*"] }
  error      = "secrets_variable must be the path"
}

test "refuses nobody" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = [] }
  error      = "email_domains must name 1 to 100 domains"
}

test "refuses several domains in one" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["example.com,*"] }
  error      = "email_domains must be domains"
}

test "refuses several groups in one" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], allowed_groups = ["admins,users"] }
  error      = "allowed_groups must be"
}

test "refuses a redis with a password" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], redis_address = ":password@10.0.0.5:6379" }
  error      = "redis_address must be host:port"
}

test "refuses the application's port" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 4180, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }
  error      = "listen_port must differ from app_port"
}

test "refuses a command with arguments" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], command = "/bin/sh -c" }
  error      = "command must be an absolute path"
}

test "runs its command in an image" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], image = "registry.example.com/x:1", command = "/bin/oauth2-proxy" }

  assert {
    condition     = group.web.task.oauth2-proxy.Config.entrypoint == [""] && group.web.task.oauth2-proxy.Config.command == "/bin/oauth2-proxy"
    error_message = "The image's entrypoint would get the command as an argument."
  }
}

test "refuses a port that is none" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 0, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"] }
  error      = "app_port must be a whole number"
}

test "refuses a provider that is a flag" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], provider = "oidc --insecure-oidc-skip-nonce" }
  error      = "provider must be oidc"
}

test "refuses a session without end" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], session_hours = 0 }
  error      = "session_hours must be a whole number"
}

test "refuses a port of root" {
  job        = "web.nomad.hcl"
  parameters = { app_port = 8080, public_url = "https://shop.example.com", issuer_url = "https://login.example.com", secrets_variable = "nomad/jobs/shop", email_domains = ["*"], listen_port = 443 }
  error      = "listen_port must be a whole number"
}
