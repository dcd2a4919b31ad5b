job "web" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "tls-proxy" {
      app_port = sidecar.rate-limit.port
    }

    sidecar "rate-limit" {
      app_port = sidecar.oauth2-proxy.port
      rate     = 10
    }

    sidecar "oauth2-proxy" {
      app_port         = 8080
      public_url       = "https://shop.example.com"
      issuer_url       = "https://login.example.com"
      secrets_variable = "nomad/jobs/shop"
      email_domains    = ["example.com"]
    }

    task "app" {
      driver = "pod"
    }
  }
}
