# One redis, reachable by other pods.
job "NAME" {
  group "redis" {
    network {
      mode = "bridge"
    }

    service {
      provider     = "nomad"
      name         = "NAME"
      port         = "6379"
      address_mode = "alloc"
    }

    task "redis" {
      driver = "pod"

      config {
        command = "/usr/bin/redis-server"
        args    = ["/secrets/redis.conf"]
        ready { tcp = "127.0.0.1:6379" }
      }

      template {
        destination = "secrets/redis.conf"
        perms       = "644"
        data        = "bind 0.0.0.0\nprotected-mode no\nsave \"\"\ndir /tmp\n{{ with nomadVar `nomad/jobs/shards` }}requirepass {{ .password.Value | toJSON }}{{ end }}\n"
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
