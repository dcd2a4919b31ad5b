job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "exporter" {
        to = 9107
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "exporter" {
      driver = "pod"

      lifecycle {
        hook    = "poststart"
        sidecar = true
      }

      config {
        command = "/usr/bin/prometheus-redis-exporter"
        args    = ["-redis.addr=redis://127.0.0.1:6379", "-web.listen-address=:9107"]

        ready {
          tcp      = "127.0.0.1:9107"
          interval = "50ms"
          timeout  = "1m"
        }
      }

      env {
        REDIS_USER = "exporter"
      }

      template {
        destination = "secrets/exporter.env"
        env         = true
        data        = "{{ with nomadVar \"nomad/jobs/web\" }}REDIS_PASSWORD={{ .password.Value | toJSON }}{{ end }}\n"
      }
      shutdown_delay = "5s"

      service {
        provider = "nomad"
        name     = "web-metrics"
        port     = "exporter"
        tags     = ["metrics"]

        check {
          type     = "http"
          path     = "/"
          interval = "15s"
          timeout  = "5s"
        }
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "5s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 48
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"exporter\"],\"ports\":[\"exporter\"],\"seals\":{\"/port/exporter\":\"7200983f4e525b13\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "exporter"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
