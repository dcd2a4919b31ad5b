job "web" {
  # Imported from web.yaml, document 2: Deployment "web".
  type = "service"
  meta = {
    "app.kubernetes.io/name" = "web"
  }

  group "web" {
    count = 2

    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    update {
      max_parallel = 1
      health_check = "checks"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    service {
      name     = "web"
      port     = "http"
      provider = "nomad"

      check {
        name     = "web readiness"
        type     = "http"
        path     = "/"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "web" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "busybox:1.36"
        entrypoint   = ["webapp"]
        args         = ["-listen", "0.0.0.0:8080"]
        kill_timeout = "30s"
        volumes      = ["local/config:/etc/web:ro", "local/config/app.conf:/etc/app.conf:ro"]

        live {
          http     = "http://127.0.0.1:8080/"
          interval = "10s"
          timeout  = "1s"
          failures = 3
        }
      }

      env {
        LOG_LEVEL = "info"
        GREETING  = "Hello, $${USER}"
      }

      template {
        destination = "local/config/GREETING"
        data        = "Hello, $${USER}"
      }

      template {
        destination = "local/config/LOG_LEVEL"
        data        = "info"
      }

      template {
        destination     = "local/config/app.conf"
        left_delimiter  = "[[{"
        right_delimiter = "}]]"
        data            = <<EOT
listen = 0.0.0.0:8080
home = $${HOME}
template = {{ .Title }}
EOT
      }

      template {
        destination = "local/config/banner"
        data        = <<EOT
two lines
without a newline at the end{{ "" -}}
EOT
      }

      template {
        destination = "local/config/empty"
        data        = "{{/* empty */}}"
      }

      template {
        destination = "local/config/logo.bin"
        data        = "{{ \"AAEC/w==\" | base64Decode }}"
      }

      resources {
        cpu        = 50
        memory     = 32
        memory_max = 64
      }
    }
  }
}

