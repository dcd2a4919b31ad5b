# redis with all adapters: an exporter, a health endpoint, and its log as JSON.
job "adapters" {
  group "redis" {
    network {
      mode = "bridge"
    }

    sidecar "exporter" {
      kind              = "redis"
      password_variable = "nomad/jobs/adapters"
      service           = "redis-metrics"
    }

    sidecar "health-adapter" {
      check    = ["/bin/sh", "-c", "test \"$(cat \"$1\")\" = \"it's \\$up\"", "check", "/alloc/data/health"]
      interval = "200ms"
      failures = 1
    }

    sidecar "log-adapter" {
      file    = "data/app.log"
      pattern = "^([0-9]+) \\[([A-Z]+)\\] (.*)$"
      fields  = ["number", "level", "text"]
    }

    task "redis" {
      driver = "pod"

      config {
        command = "/usr/bin/redis-server"
        args    = ["/secrets/redis.conf"]
      }

      template {
        destination = "secrets/redis.conf"
        perms       = "644"
        data        = "save \"\"\ndir /tmp\n{{ with nomadVar `nomad/jobs/adapters` }}requirepass {{ .password.Value | toJSON }}{{ end }}\n"
      }

      restart {
        attempts = 5
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
