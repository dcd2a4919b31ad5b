job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    task "app" {
      driver = "pod"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      env {
        JAVA_TOOL_OPTIONS           = "-javaagent:/otel/javaagent.jar"
        OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
        OTEL_EXPORTER_OTLP_PROTOCOL = "http/protobuf"
        OTEL_RESOURCE_ATTRIBUTES    = "service.instance.id=${NOMAD_ALLOC_ID},nomad.namespace=${NOMAD_NAMESPACE},nomad.job.id=${NOMAD_JOB_ID},nomad.group.name=${NOMAD_GROUP_NAME}"
      }
      #sidecar< sha256:…
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "otel-collector" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
      kill_timeout = "15s"

      config {
        command = "/usr/bin/otelcol"
        args    = ["--config=/secrets/config.yaml"]

        ready {
          http     = "http://127.0.0.1:13133/"
          interval = "100ms"
          timeout  = "1m"
        }
      }

      env {
        GOMEMLIMIT = "204MiB"
      }

      template {
        destination = "secrets/config.yaml"
        perms       = "644"
        data        = <<EOT
extensions:
  health_check:
    endpoint: 127.0.0.1:13133

receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:4317
        max_recv_msg_size_mib: 16
      http:
        endpoint: 127.0.0.1:4318
        max_request_body_size: 16777216

processors:
  # First, so that the application is refused, and tries again, before
  # anything is kept. Percentages would be of the machine in some versions.
  memory_limiter:
    check_interval: 1s
    limit_mib: 179
    spike_limit_mib: 38
  # Most backends accept 4 MB over gRPC.
  batch:
    send_batch_size: 1024
    send_batch_max_size: 2048
    timeout: 1s

exporters:
  otlphttp:
    endpoint: https://otlp.example.com
    sending_queue:
      queue_size: 100
    retry_on_failure:
      max_elapsed_time: 5m
    # A $ would be a reference to the environment.
    headers:{{ with nomadVar "nomad/jobs/shop/otel" }}{{ range .Tuples }}
      {{ .K | replaceAll "_" "-" | toJSON }}: {{ .V | replaceAll "$" "$$" | toJSON }}{{ end }}{{ end }}

service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlphttp]
    metrics:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlphttp]
    logs:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlphttp]
EOT
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 100
        memory = 256
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"otel-collector\"],\"env\":{\"app\":[\"OTEL_EXPORTER_OTLP_ENDPOINT\",\"OTEL_EXPORTER_OTLP_PROTOCOL\"]},\"appended\":{\"app\":{\"JAVA_TOOL_OPTIONS\":{\"separator\":\" \",\"text\":\"-javaagent:/otel/javaagent.jar\",\"absent\":true},\"OTEL_RESOURCE_ATTRIBUTES\":{\"separator\":\",\",\"text\":\"service.instance.id=${NOMAD_ALLOC_ID},nomad.namespace=${NOMAD_NAMESPACE},nomad.job.id=${NOMAD_JOB_ID},nomad.group.name=${NOMAD_GROUP_NAME}\",\"absent\":true}}},\"seals\":{\"app/append/JAVA_TOOL_OPTIONS\":\"734dfcbc5ab6cbc0\",\"app/append/OTEL_RESOURCE_ATTRIBUTES\":\"b57500bdb5634584\",\"app/env/OTEL_EXPORTER_OTLP_ENDPOINT\":\"820b51dfc5e391e8\",\"app/env/OTEL_EXPORTER_OTLP_PROTOCOL\":\"63173f04b5228c4c\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "otel-collector"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
