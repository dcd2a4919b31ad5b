job "client" {
  # Imported from secret.yaml, document 2: Deployment "client".
  # to decide: Secret "db-login" data: key "key.bin" is no text; item db_login_key_bin
  #   has it in base64, and the environment too
  type = "service"

  group "client" {
    # The tasks wait for this variable: nomad var put nomad/jobs/client
    #   db_login_key_bin=… (in base64) db_login_password=… db_login_user=…
    count = 1

    meta {
      app = "client"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "client" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "printf '%s\n' \"$DSN\"; exec sleep 3600"]
        volumes    = ["secrets/login:/etc/login:ro"]
      }

      template {
        destination          = "secrets/env"
        env                  = true
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/client" -}}
{{ with (index . "db_login_key_bin").Value }}LOGIN_key.bin={{ . | toJSON }}{{ end }}
{{ with (index . "db_login_password").Value }}LOGIN_password={{ . | toJSON }}{{ end }}
{{ with (index . "db_login_user").Value }}LOGIN_user={{ . | toJSON }}{{ end }}
PASSWORD={{ .db_login_password.Value | toJSON }}
DSN={{ print "db://" .db_login_password.Value "@host/$(NAME)" | toJSON }}
{{ end -}}
EOT
      }

      template {
        destination          = "secrets/login/db/password"
        perms                = "0400"
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/client" }}{{ .db_login_password.Value }}{{ end }}{{ "" -}}
EOT
      }

      template {
        destination          = "secrets/login/key.bin"
        perms                = "0440"
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/client" }}{{ .db_login_key_bin.Value | base64Decode }}{{ end }}{{ "" -}}
EOT
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

# secret.yaml:3: needs a decision: Secret "db-login" data
