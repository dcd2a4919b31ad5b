job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "shard-proxy-stats" {
        to = 9106
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "shard-proxy" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/sbin/nutcracker"
        args = [
          "-c",
          "/secrets/nutcracker.yml",
          "-o",
          "/dev/stderr",
          "-a",
          "0.0.0.0",
          "-s",
          9106,
        ]

        ready {
          tcp      = "127.0.0.1:9020"
          interval = "50ms"
          timeout  = "30s"
        }
      }

      template {
        destination = "secrets/nutcracker.yml"
        perms       = "644"

        wait {
          min = "1s"
          max = "5s"
        }
        data = <<EOT
shards:
  listen: 127.0.0.1:9020
  redis: true
  # fnv1a_64, the default, divides short similar keys unevenly:
  # key1 to key1000 as 110, 520 and 370 among three shards.
  hash: murmur
  distribution: ketama
  hash_tag: "{}"
  timeout: 1000
  backlog: 1024
  preconnect: false
  auto_eject_hosts: false
  server_failure_limit: 3
  server_retry_timeout: 30000
  redis_auth: {{ with nomadVar "nomad/jobs/web" }}{{ .password.Value | toJSON }}{{ end }}
  servers:
  # Whoever registers the service chooses the address. A shard without
  # an instance gets one that refuses connections.
  {{- $at := "127.0.0.1:1" }}
  {{- range nomadService "redis-a" }}{{ if and (eq $at "127.0.0.1:1") (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") }}{{ $at = printf "%s:%d" .Address .Port }}{{ end }}{{ end }}
  - {{ $at }}:1 a
  - redis-b.example.com:6379:1 b
EOT
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 32
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"shard-proxy\"],\"ports\":[\"shard-proxy-stats\"],\"seals\":{\"/port/shard-proxy-stats\":\"58c460b50d1e5106\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "shard-proxy"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
