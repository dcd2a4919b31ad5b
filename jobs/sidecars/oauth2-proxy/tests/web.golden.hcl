job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "oauth2-proxy" {
        to = 4180
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "oauth2-proxy" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/local/bin/oauth2-proxy"
        args = [
          "--http-address=0.0.0.0:4180",
          "--upstream=http://127.0.0.1:8080/",
          "--provider=oidc",
          "--oidc-issuer-url=https://login.example.com/realms/staff",
          "--redirect-url=https://shop.example.com/oauth2/callback",
          "--code-challenge-method=S256",
          "--skip-provider-button=true",
          "--cookie-secure=true",
          "--cookie-name=__Host-oauth2_proxy",
          "--cookie-samesite=lax",
          "--cookie-csrf-per-request=true",
          "--cookie-expire=12h",
          "--pass-basic-auth=false",
          "--silence-ping-logging=true",
          "--email-domain=example.com",
          "--allowed-group=shop-admins",
          "--skip-auth-route=GET=^/healthz$",
          "--skip-auth-route=GET=^/v1[.]json$",
        ]

        ready {
          http     = "http://127.0.0.1:4180/ping"
          interval = "100ms"
          timeout  = "1m"
        }
      }

      template {
        destination = "secrets/oauth2-proxy.env"
        env         = true
        data        = <<EOT
{{ with nomadVar "nomad/jobs/shop" }}OAUTH2_PROXY_CLIENT_ID={{ .client_id.Value | toJSON }}
OAUTH2_PROXY_CLIENT_SECRET={{ .client_secret.Value | toJSON }}
OAUTH2_PROXY_COOKIE_SECRET={{ .cookie_secret.Value | toJSON }}
{{ range .Tuples }}{{ if eq .K "redis_password" }}OAUTH2_PROXY_REDIS_PASSWORD={{ .V | toJSON }}
{{ end }}{{ end }}{{ end }}
EOT
      }

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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"oauth2-proxy\"],\"ports\":[\"oauth2-proxy\"],\"seals\":{\"/port/oauth2-proxy\":\"82e6c1560772d1b2\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "oauth2-proxy"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
