sidecar "otel-collector" {
  version = "1.0.0"
  summary = "Receives an application's traces, metrics and logs on loopback, and sends them to an OpenTelemetry backend."

  parameter "endpoint" {
    type        = string
    example     = "https://otlp.example.com"
    description = "URL of the backend: for http its OTLP/HTTP address without /v1/traces, for grpc scheme, host and port."
    validation {
      condition     = param.endpoint != "" && regex_replace(param.endpoint, "^https?://[A-Za-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~/-]{0,255})?$", "") == ""
      error_message = "endpoint must be an https or http URL without user and query, such as https://otlp.example.com."
    }
    validation {
      condition     = param.protocol != "grpc" || regex_replace(param.endpoint, "^https?://[A-Za-z0-9.-]{1,253}:[1-9][0-9]{0,4}$", "") == ""
      error_message = "endpoint must be scheme, host and port for grpc, such as https://otlp.example.com:4317."
    }
  }

  parameter "protocol" {
    type        = string
    default     = "http"
    description = "What the backend speaks: http or grpc. The application may use either."
    validation {
      condition     = contains(["http", "grpc"], param.protocol)
      error_message = "protocol must be http or grpc."
    }
  }

  parameter "headers_variable" {
    type        = string
    default     = null
    example     = "nomad/jobs/shop/otel"
    description = "Path of a Nomad variable: each of its items is a header of requests to the backend, with dashes for underscores: x_api_key is x-api-key. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.headers_variable == null ? true : param.headers_variable != "" && regex_replace(param.headers_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "headers_variable must be the path of a Nomad variable, such as nomad/jobs/shop/otel."
    }
  }

  parameter "signals" {
    type        = list(string)
    default     = ["traces", "metrics", "logs"]
    description = "What the backend accepts: traces, metrics, logs, or some of them."
    validation {
      condition     = length(param.signals) > 0 && length(distinct(param.signals)) == length(param.signals) && length([for s in param.signals : s if !contains(["traces", "metrics", "logs"], coalesce(s, "-"))]) == 0
      error_message = "signals must be a list of different ones of traces, metrics and logs."
    }
  }

  parameter "java_agent" {
    type        = string
    default     = null
    example     = "/otel/javaagent.jar"
    description = "Path in the application's tasks of OpenTelemetry's agent for Java, added to JAVA_TOOL_OPTIONS."
    validation {
      condition     = param.java_agent == null ? true : param.java_agent != "" && regex_replace(param.java_agent, "^/[A-Za-z0-9/._-]+[.]jar$", "") == ""
      error_message = "java_agent must be an absolute path that ends in .jar: letters, digits, and / . _ -."
    }
  }

  parameter "max_message" {
    type        = number
    default     = 16
    description = "Largest message in MB that the application may send."
    validation {
      condition     = param.max_message >= 1 && param.max_message <= 256 && floor(param.max_message) == param.max_message
      error_message = "max_message must be a whole number of MB from 1 to 256."
    }
    validation {
      condition     = 8 * param.max_message <= param.memory
      error_message = "max_message must be at most an eighth of memory: a message is several times as large when it is decoded."
    }
  }

  parameter "memory" {
    type        = number
    default     = 256
    description = "Memory in MB to reserve. At 55 % of it the collector refuses data, and the application sends it again."
    validation {
      condition     = param.memory >= 128 && param.memory <= 65536 && floor(param.memory) == param.memory
      error_message = "memory must be a whole number from 128 to 65536."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the collector. Omitted: the client's own program."
  }

  parameter "command" {
    type        = string
    default     = "/usr/bin/otelcol"
    description = "Absolute path of the collector, in the image or on the client."
    validation {
      condition     = param.command != "" && regex_replace(param.command, "^/[A-Za-z0-9/._-]+$", "") == ""
      error_message = "command must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    # Names that collectors before 0.144 know too, and later ones as aliases.
    exporter = param.protocol == "http" ? "otlphttp" : "otlp"
  }

  api {
    env "OTEL_EXPORTER_OTLP_ENDPOINT" {
      value       = "http://127.0.0.1:4318"
      description = "Where OpenTelemetry's libraries send: the collector."
    }
    env "OTEL_EXPORTER_OTLP_PROTOCOL" {
      value       = "http/protobuf"
      description = "What they speak there."
    }
    env "OTEL_RESOURCE_ATTRIBUTES" {
      value       = "service.instance.id=${NOMAD_ALLOC_ID},nomad.namespace=${NOMAD_NAMESPACE},nomad.job.id=${NOMAD_JOB_ID},nomad.group.name=${NOMAD_GROUP_NAME}"
      append      = true
      separator   = ","
      description = "Added to the application's own attributes: instance, namespace, job and group."
    }
    env "JAVA_TOOL_OPTIONS" {
      enabled     = param.java_agent != null
      value       = "-javaagent:${coalesce(param.java_agent, "-")}"
      append      = true
      description = "Added to the application's own options if java_agent is set."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "otel-collector" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    # It sends what it has before it ends.
    kill_timeout = "15s"

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args       = ["--config=/secrets/config.yaml"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        http     = "http://127.0.0.1:13133/"
        interval = "100ms"
        timeout  = "1m"
      }
    }

    # The limiter measures the heap; the garbage collector works harder before
    # the cgroup's limit ends the process.
    env {
      GOMEMLIMIT = "${floor(0.8 * param.memory)}MiB"
    }

    template {
      destination = "secrets/config.yaml"
      perms       = "644"
      data        = <<-EOT
        extensions:
          health_check:
            endpoint: 127.0.0.1:13133

        receivers:
          otlp:
            protocols:
              grpc:
                endpoint: 127.0.0.1:4317
                max_recv_msg_size_mib: ${param.max_message}
              http:
                endpoint: 127.0.0.1:4318
                max_request_body_size: ${param.max_message * 1048576}

        processors:
          # First, so that the application is refused, and tries again, before
          # anything is kept. Percentages would be of the machine in some versions.
          memory_limiter:
            check_interval: 1s
            limit_mib: ${floor(0.7 * param.memory)}
            spike_limit_mib: ${floor(0.15 * param.memory)}
          # Most backends accept 4 MB over gRPC.
          batch:
            send_batch_size: 1024
            send_batch_max_size: 2048
            timeout: 1s

        exporters:
          ${local.exporter}:
            endpoint: ${param.endpoint}
            sending_queue:
              queue_size: 100
            retry_on_failure:
              max_elapsed_time: 5m%{if param.headers_variable != null}
            # A $ would be a reference to the environment.
            headers:{{ with nomadVar "${coalesce(param.headers_variable, "-")}" }}{{ range .Tuples }}
              {{ .K | replaceAll "_" "-" | toJSON }}: {{ .V | replaceAll "$" "$$" | toJSON }}{{ end }}{{ end }}%{endif}

        service:
          extensions: [health_check]
          pipelines:%{for s in param.signals}
            ${s}:
              receivers: [otlp]
              processors: [memory_limiter, batch]
              exporters: [${local.exporter}]%{endfor}
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "2s"
      mode     = "delay"
    }

    resources {
      cpu    = 100
      memory = param.memory
    }
  }

  example "traces only" {
    description = "Traces leave the node, other signals are refused."
    parameters = {
      endpoint = "https://otlp.example.com"
      signals  = ["traces"]
    }
  }
}
