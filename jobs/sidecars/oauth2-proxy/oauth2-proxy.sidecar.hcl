sidecar "oauth2-proxy" {
  version = "1.0.0"
  summary = "Lets only users through to an HTTP application who have logged in with OpenID Connect."

  parameter "app_port" {
    type        = number
    example     = 8080
    description = "Loopback port the application listens on."
    validation {
      condition     = param.app_port >= 1 && param.app_port <= 65535 && floor(param.app_port) == param.app_port
      error_message = "app_port must be a whole number from 1 to 65535."
    }
  }

  parameter "public_url" {
    type        = string
    example     = "https://shop.example.com"
    description = "Address in the users' browsers, without a path. The provider must accept it with /oauth2/callback as redirect URL. With https:// the session cookie is sent over TLS only."
    validation {
      condition     = param.public_url != "" && regex_replace(param.public_url, "^https?://[A-Za-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?$", "") == ""
      error_message = "public_url must be an https or http URL without a path, such as https://shop.example.com."
    }
  }

  parameter "issuer_url" {
    type        = string
    example     = "https://login.example.com/realms/staff"
    description = "Issuer of the OpenID Connect provider, as its tokens name it: with or without a slash at the end."
    validation {
      condition     = param.issuer_url != "" && regex_replace(param.issuer_url, "^https?://[A-Za-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~/-]{0,255})?$", "") == ""
      error_message = "issuer_url must be an https or http URL without user and query, such as https://login.example.com/realms/staff."
    }
  }

  parameter "provider" {
    type        = string
    default     = "oidc"
    description = "Kind of provider: oidc, or keycloak-oidc or entra-id for the groups of these."
    validation {
      condition     = contains(["oidc", "keycloak-oidc", "entra-id"], param.provider)
      error_message = "provider must be oidc, keycloak-oidc or entra-id."
    }
  }

  parameter "secrets_variable" {
    type        = string
    example     = "nomad/jobs/shop"
    description = "Path of the Nomad variable with the items client_id, client_secret and cookie_secret, which is 16, 24 or 32 bytes or their base64; and redis_password, if redis needs one. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.secrets_variable != "" && regex_replace(param.secrets_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "secrets_variable must be the path of a Nomad variable, such as nomad/jobs/shop."
    }
  }

  parameter "email_domains" {
    type        = list(string)
    example     = ["example.com"]
    description = "Domains of the e-mail addresses that may log in. [\"*\"] is everybody whom the provider lets log in."
    validation {
      condition     = length(param.email_domains) > 0 && length(param.email_domains) <= 100
      error_message = "email_domains must name 1 to 100 domains."
    }
    validation {
      condition     = length([for d in param.email_domains : d if d == null ? true : d != "*" && (d == "" || regex_replace(d, "^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$", "") != "")]) == 0
      error_message = "email_domains must be domains, such as example.com, or *."
    }
  }

  parameter "allowed_groups" {
    type        = list(string)
    default     = []
    example     = ["shop-admins"]
    description = "Only members of one of these groups may log in, as the provider's tokens name them. Empty: no group is needed."
    validation {
      condition     = length(param.allowed_groups) <= 100 && length([for g in param.allowed_groups : g if g == null ? true : g == "" || regex_replace(g, "^[A-Za-z0-9_./:@-]{1,200}$", "") != ""]) == 0
      error_message = "allowed_groups must be at most 100 names of letters, digits, and _ . / : @ -."
    }
  }

  parameter "public_paths" {
    type        = list(string)
    default     = []
    example     = ["/healthz"]
    description = "Paths that everybody may GET without a login. Each is exactly one path."
    validation {
      condition     = length(param.public_paths) <= 100 && length([for p in param.public_paths : p if p == null ? true : p == "" || regex_replace(p, "^/[A-Za-z0-9/._~-]{0,255}$", "") != ""]) == 0
      error_message = "public_paths must be at most 100 paths such as /healthz: letters, digits, and / . _ ~ -."
    }
  }

  parameter "redis_address" {
    type        = string
    default     = null
    example     = "127.0.0.1:6379"
    description = "Host and port of a redis that keeps the sessions. Omitted: the browser's cookie does, with up to 4 KB in each part."
    validation {
      condition     = param.redis_address == null ? true : param.redis_address != "" && regex_replace(param.redis_address, "^[A-Za-z0-9.-]{1,253}:[1-9][0-9]{0,4}$", "") == ""
      error_message = "redis_address must be host:port, such as 127.0.0.1:6379."
    }
  }

  parameter "session_hours" {
    type        = number
    default     = 12
    description = "Hours after which users log in again."
    validation {
      condition     = param.session_hours >= 1 && param.session_hours <= 8760 && floor(param.session_hours) == param.session_hours
      error_message = "session_hours must be a whole number from 1 to 8760."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 4180
    description = "Port of the proxy inside the pod."
    validation {
      condition     = param.listen_port >= 1024 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number from 1024 to 65535."
    }
    validation {
      condition     = param.listen_port != param.app_port
      error_message = "listen_port must differ from app_port: both are ports of the same pod."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with oauth2-proxy. Omitted: the client's own program."
  }

  parameter "command" {
    type        = string
    default     = "/usr/local/bin/oauth2-proxy"
    description = "Absolute path of oauth2-proxy, in the image or on the client."
    validation {
      condition     = param.command != "" && regex_replace(param.command, "^/[A-Za-z0-9/._-]+$", "") == ""
      error_message = "command must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    secure = substr(param.public_url, 0, 6) == "https:"
  }

  api {
    port "oauth2-proxy" {
      to          = param.listen_port
      description = "The application for those who have logged in; /oauth2/ and /ping are the proxy's. Plain HTTP: put TLS in front."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "oauth2-proxy" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    # Headers such as X-Forwarded-Uri are never believed: --reverse-proxy stays off.
    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args = concat(
        [
          "--http-address=0.0.0.0:${param.listen_port}",
          "--upstream=http://127.0.0.1:${param.app_port}/",
          "--provider=${param.provider}",
          "--oidc-issuer-url=${param.issuer_url}",
          "--redirect-url=${param.public_url}/oauth2/callback",
          "--code-challenge-method=S256",
          "--skip-provider-button=true",
          "--cookie-secure=${local.secure}",
          "--cookie-name=${local.secure ? "__Host-oauth2_proxy" : "_oauth2_proxy"}",
          "--cookie-samesite=lax",
          "--cookie-csrf-per-request=true",
          "--cookie-expire=${param.session_hours}h",
          "--pass-basic-auth=false",
          "--silence-ping-logging=true",
        ],
        param.redis_address == null ? [] : ["--session-store-type=redis", "--redis-connection-url=redis://${coalesce(param.redis_address, "-")}"],
        [for d in param.email_domains : "--email-domain=${d}"],
        [for g in param.allowed_groups : "--allowed-group=${g}"],
        [for p in param.public_paths : "--skip-auth-route=GET=^${replace(p, ".", "[.]")}$"],
      )
      share = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        http     = "http://127.0.0.1:${param.listen_port}/ping"
        interval = "100ms"
        timeout  = "1m"
      }
    }

    template {
      destination = "secrets/oauth2-proxy.env"
      env         = true
      data        = <<-EOT
        {{ with nomadVar "${param.secrets_variable}" }}OAUTH2_PROXY_CLIENT_ID={{ .client_id.Value | toJSON }}
        OAUTH2_PROXY_CLIENT_SECRET={{ .client_secret.Value | toJSON }}
        OAUTH2_PROXY_COOKIE_SECRET={{ .cookie_secret.Value | toJSON }}
        {{ range .Tuples }}{{ if eq .K "redis_password" }}OAUTH2_PROXY_REDIS_PASSWORD={{ .V | toJSON }}
        {{ end }}{{ end }}{{ end }}
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application; a proxy without its provider waits and tries again.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 100
      memory = 64
    }
  }

  output "port" {
    value       = param.listen_port
    description = "Port inside the pod, for a proxy in front."
  }

  example "staff only" {
    description = "Everybody with an address of example.com may use the application."
    parameters = {
      app_port         = 8080
      public_url       = "https://shop.example.com"
      issuer_url       = "https://login.example.com/realms/staff"
      secrets_variable = "nomad/jobs/shop"
      email_domains    = ["example.com"]
    }
  }
}
