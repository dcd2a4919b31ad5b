job "web" {
  group "web" {
    task "app" {
      driver = "pod"
      config {
        pod_volume "vault" {
          target   = "/vault"
          readonly = true
        }
      }
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "vault-agent" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      identity {
        name        = "agent"
        aud         = ["vault.io"]
        file        = true
        ttl         = "1h"
        change_mode = "noop"
      }

      config {
        command = "/usr/bin/vault"
        args    = ["agent", "-config=/local/agent.hcl"]

        pod_volume "vault" {
          target = "/vault"
          size   = "8m"
        }

        ready {
          command = "/bin/sh"
          args = [
            "-c",
            "for f; do [ -e \"/vault/$f\" ] || exit 1; done",
            "ready",
            "database.json",
            "old.json",
            "app.env",
          ]
          interval = "200ms"
          timeout  = "2m"
        }
      }

      template {
        destination     = "local/templates/app.env"
        left_delimiter  = "<[nomad["
        right_delimiter = "]nomad]>"
        data            = "PASSWORD={{ with secret \"secret/data/shop/database\" }}{{ .Data.data.password }}{{ end }}\n"
      }

      template {
        destination     = "local/agent.hcl"
        left_delimiter  = "<[nomad["
        right_delimiter = "]nomad]>"
        data            = <<EOT
vault {
  address = "https://vault.example.com:8200"
  namespace = "team-a"
  ca_cert = "/etc/ssl/certs/company-ca.pem"
  retry {
    num_retries = 12
  }
}

auto_auth {
  method "jwt" {
    mount_path = "auth/jwt-nomad"
    max_backoff = "30s"
    config = {
      role = "shop"
      path = "/secrets/nomad_agent.jwt"
      # The file is Nomad's, and the next login needs it.
      remove_jwt_after_reading = false
    }
  }
}

# When all attempts have failed it ends and Nomad starts it again: that
# is an event of the task, an agent that goes on for ever is not.
template_config {
  exit_on_retry_failure = true
}

template {
  destination = "/vault/database.json"
  perms = "0640"
  error_on_missing_key = true
  contents = "{{ with secret \"secret/data/shop/database\" }}{{ .Data.data | toJSON }}{{ end }}"
}

template {
  destination = "/vault/old.json"
  perms = "0640"
  error_on_missing_key = true
  contents = "{{ with secret \"kv/shop\" }}{{ .Data | toJSON }}{{ end }}"
}

template {
  source = "/local/templates/app.env"
  destination = "/vault/app.env"
  perms = "0640"
  error_on_missing_key = true
}

EOT
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "5s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 128
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"vault-agent\"]}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "vault-agent"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
