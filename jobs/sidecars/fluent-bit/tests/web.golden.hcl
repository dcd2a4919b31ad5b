job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "fluent-bit-admin" {
        to = 2020
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "fluent-bit" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
      shutdown_delay = "3s"
      kill_timeout   = "15s"

      config {
        command = "/opt/fluent-bit/bin/fluent-bit"
        args    = ["-c", "/secrets/fluent-bit.yaml"]

        ready {
          http     = "http://127.0.0.1:2020/"
          interval = "100ms"
          timeout  = "1m"
        }
      }

      template {
        destination = "secrets/fluent-bit.yaml"
        perms       = "644"
        data        = <<EOT
service:
  flush: 1
  grace: 12
  http_server: on
  http_listen: 0.0.0.0
  http_port: 2020
  health_check: on
  # What was read and not sent survives a restart of the task.
  storage.path: /local/chunks
  storage.max_chunks_up: 16
  # The longest pause between two attempts.
  scheduler.base: 1
  scheduler.cap: 30

parsers:
  - name: nomad
    format: regex
    regex: '^/alloc/logs/(?<task>.+)[.](?<stream>stdout|stderr)[.][0-9]+$'
  - name: line
    format: json

pipeline:
  inputs:
    - name: tail
      path: /alloc/logs/*.stdout.[0-9]*,/alloc/logs/*.stderr.[0-9]*
      exclude_path: /alloc/logs/fluent-bit.stdout.[0-9]*,/alloc/logs/fluent-bit.stderr.[0-9]*,/alloc/logs/debug.stdout.[0-9]*,/alloc/logs/debug.stderr.[0-9]*
      path_key: file
      key: message
      # Nomad starts a new file with the next number, and removes the oldest.
      read_from_head: true
      refresh_interval: 1
      db: /local/positions.db
      # A new file may have the inode of one that was removed.
      db.compare_filename: true
      buffer_chunk_size: 32k
      buffer_max_size: 1024k
      skip_long_lines: on
      storage.type: filesystem
      # When the buffer is full it reads no further: nothing is dropped.
      storage.pause_on_chunks_overlimit: on

  filters:
    - name: parser
      match: '*'
      key_name: message
      parser: line
      reserve_data: true
    - name: parser
      match: '*'
      key_name: file
      parser: nomad
      reserve_data: true
    - name: record_modifier
      match: '*'
      record:
        - {{ printf "namespace %s" (env "NOMAD_NAMESPACE") | toJSON }}
        - {{ printf "job %s" (env "NOMAD_JOB_ID") | toJSON }}
        - {{ printf "group %s" (env "NOMAD_GROUP_NAME") | toJSON }}
        - {{ printf "alloc_id %s" (env "NOMAD_ALLOC_ID") | toJSON }}

  outputs:
    - name: loki
      match: '*'
      # The default drops lines after two attempts.
      retry_limit: no_limits
      host: "loki.example.com"
      labels: "job=\"web\", it's # not: a comment"
      port: "443"
      tls: "on"{{ with nomadVar "nomad/jobs/shop/fluent-bit" }}{{ range .Tuples }}
      {{ .K | toJSON }}: {{ .V | toJSON }}{{ end }}{{ end }}
EOT
      }

      restart {
        attempts = 5
        interval = "1m"
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 128
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"fluent-bit\"],\"ports\":[\"fluent-bit-admin\"],\"seals\":{\"/port/fluent-bit-admin\":\"8b92ac3a2268a155\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "fluent-bit"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
