sidecar "fluent-bit" {
  version = "1.0.0"
  summary = "Sends the stdout and stderr of the pod's tasks to any of Fluent Bit's outputs, such as Loki, Elasticsearch or Splunk."

  parameter "output" {
    type        = string
    example     = "loki"
    description = "Fluent Bit's output plugin: loki, es, opensearch, splunk, http, forward, kafka, s3 and so on."
    validation {
      condition     = param.output != "" && regex_replace(param.output, "^[a-z][a-z0-9_]{0,31}$", "") == ""
      error_message = "output must be the name of an output plugin: small letters, digits and _."
    }
  }

  parameter "settings" {
    type        = map(string)
    default     = {}
    example     = { host = "loki.example.com", port = "443", tls = "on" }
    description = "Properties of the output, without secrets."
    validation {
      condition     = length(param.settings) <= 100 && length([for k, v in param.settings : k if k == "" || regex_replace(k, "^[A-Za-z][A-Za-z0-9_.-]{0,63}$", "") != ""]) == 0
      error_message = "settings must have at most 100 names of properties: letters, digits, and _ . -."
    }
    validation {
      condition     = length([for k, v in param.settings : k if contains(["name", "match", "match_regex", "retry_limit", "storage.total_limit_size"], lower(k))]) == 0
      error_message = "settings must not have name, match, match_regex, retry_limit and storage.total_limit_size: the sidecar sets them so that no line is dropped."
    }
    validation {
      condition     = length([for k, v in param.settings : k if v == null ? true : strlen(v) > 4096 || regex_replace(v, "[[:cntrl:]]|[$%][{]|[{][{]", "") != v]) == 0
      error_message = "settings must have values of one line, without $${, %%{ and {{."
    }
  }

  parameter "secrets_variable" {
    type        = string
    default     = null
    example     = "nomad/jobs/shop/fluent-bit"
    description = "Path of a Nomad variable: each of its items is a property of the output, such as http_passwd. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.secrets_variable == null ? true : param.secrets_variable != "" && regex_replace(param.secrets_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "secrets_variable must be the path of a Nomad variable, such as nomad/jobs/shop/fluent-bit."
    }
  }

  parameter "json" {
    type        = bool
    default     = false
    description = "Lines that are JSON objects become the fields of the record."
  }

  parameter "exclude" {
    type        = list(string)
    default     = []
    description = "Tasks to leave out. The sidecar's own output is never sent."
    validation {
      condition     = length(param.exclude) <= 100 && length([for t in param.exclude : t if t == null ? true : t == "" || regex_replace(t, "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$", "") != ""]) == 0
      error_message = "exclude must be at most 100 names of tasks: letters, digits, and _ . -."
    }
  }

  parameter "max_line" {
    type        = number
    default     = 1024
    description = "Longest line in KB. Longer ones are dropped, with a line in the sidecar's log."
    validation {
      condition     = param.max_line >= 32 && param.max_line <= 8192 && floor(param.max_line) == param.max_line
      error_message = "max_line must be a whole number of KB from 32 to 8192."
    }
  }

  parameter "admin_port" {
    type        = number
    default     = 2020
    description = "Port of health and metrics inside the pod."
    validation {
      condition     = param.admin_port >= 1024 && param.admin_port <= 65535 && floor(param.admin_port) == param.admin_port
      error_message = "admin_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "memory" {
    type        = number
    default     = 128
    description = "Memory in MB to reserve. A quarter of it holds lines; more are read when these have been sent."
    validation {
      condition     = param.memory >= 64 && param.memory <= 65536 && floor(param.memory) == param.memory
      error_message = "memory must be a whole number from 64 to 65536."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with Fluent Bit. Omitted: the client's own program."
  }

  parameter "command" {
    type        = string
    default     = "/opt/fluent-bit/bin/fluent-bit"
    description = "Absolute path of fluent-bit, in the image or on the client."
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

  api {
    directory "alloc/logs" {
      access      = "read"
      description = "The tasks' logs, as Nomad writes and rotates them."
    }
    port "fluent-bit-admin" {
      to          = param.admin_port
      description = "Metrics for Prometheus at /api/v2/metrics/prometheus, health at /api/v1/health. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "fluent-bit" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    # It stops reading soon after the signal. Before it, Fluent Bit has the
    # time to read what the application wrote last.
    shutdown_delay = "3s"
    kill_timeout   = "15s"

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args       = ["-c", "/secrets/fluent-bit.yaml"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        http     = "http://127.0.0.1:${param.admin_port}/"
        interval = "100ms"
        timeout  = "1m"
      }
    }

    template {
      destination = "secrets/fluent-bit.yaml"
      perms       = "644"
      data        = <<-EOT
        service:
          flush: 1
          grace: 12
          http_server: on
          http_listen: 0.0.0.0
          http_port: ${param.admin_port}
          health_check: on
          # What was read and not sent survives a restart of the task.
          storage.path: /local/chunks
          storage.max_chunks_up: ${max(floor(param.memory / 8), 8)}
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
              exclude_path: ${join(",", [for t in concat(["fluent-bit"], param.exclude) : "/alloc/logs/${t}.stdout.[0-9]*,/alloc/logs/${t}.stderr.[0-9]*"])}
              path_key: file
              key: message
              # Nomad starts a new file with the next number, and removes the oldest.
              read_from_head: true
              refresh_interval: 1
              db: /local/positions.db
              # A new file may have the inode of one that was removed.
              db.compare_filename: true
              buffer_chunk_size: 32k
              buffer_max_size: ${param.max_line}k
              skip_long_lines: on
              storage.type: filesystem
              # When the buffer is full it reads no further: nothing is dropped.
              storage.pause_on_chunks_overlimit: on

          filters:%{if param.json}
            - name: parser
              match: '*'
              key_name: message
              parser: line
              reserve_data: true%{endif}
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
            - name: ${param.output}
              match: '*'
              # The default drops lines after two attempts.
              retry_limit: no_limits%{for k, v in param.settings}
              ${k}: ${jsonencode(v)}%{endfor}%{if param.secrets_variable != null}{{ with nomadVar "${coalesce(param.secrets_variable, "-")}" }}{{ range .Tuples }}
              {{ .K | toJSON }}: {{ .V | toJSON }}{{ end }}{{ end }}%{endif}
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application; meanwhile Nomad's files keep the lines that were not sent.
    restart {
      attempts = 5
      interval = "1m"
      delay    = "2s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = param.memory
    }
  }

  example "Loki" {
    description = "The lines of all tasks go to Loki."
    parameters = {
      output   = "loki"
      settings = { host = "loki.example.com", port = "443", tls = "on" }
    }
  }
}
