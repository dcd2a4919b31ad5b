sidecar "log-shipper" {
  version = "1.0.0"
  summary = "Ships the stdout and stderr of the pod's tasks to HTTP, syslog or a file."

  parameter "sink" {
    type        = string
    example     = "https://logs.example.com/in"
    description = "Destination: http://…, https://…, syslog+tcp://HOST:PORT, syslog+udp://HOST:PORT or file:///PATH."
    validation {
      condition     = regex_replace(param.sink, "^(https?://[^/ ]+\\S*|syslog\\+(tcp|udp)://[^/ ]+:[0-9]+|file:///\\S*[^/ ])$", "") == ""
      error_message = "sink must be a URL such as https://logs.example.com/in, syslog+tcp://10.0.0.1:601 or file:///alloc/data/all.log."
    }
  }

  parameter "tasks" {
    type        = list(string)
    default     = []
    description = "Only the logs of these tasks; empty means all tasks except the shipper."
  }

  parameter "exclude" {
    type        = list(string)
    default     = []
    description = "Tasks to exclude from shipping."
  }

  parameter "streams" {
    type        = list(string)
    default     = ["stdout", "stderr"]
    description = "stdout, stderr or both."
    validation {
      condition     = length(param.streams) > 0 && length([for s in param.streams : s if !contains(["stdout", "stderr"], s)]) == 0
      error_message = "streams must be a list of \"stdout\", \"stderr\" or both."
    }
  }

  parameter "format" {
    type        = string
    default     = "json"
    description = "Format of lines for HTTP and files: json or text."
    validation {
      condition     = contains(["json", "text"], param.format)
      error_message = "format must be \"json\" or \"text\"."
    }
  }

  parameter "max_line_bytes" {
    type        = number
    default     = 8192
    description = "Longest line in bytes; a longer line is shipped in pieces."
    validation {
      condition     = param.max_line_bytes >= 1 && param.max_line_bytes <= 1048576 && floor(param.max_line_bytes) == param.max_line_bytes
      error_message = "max_line_bytes must be a whole number between 1 and 1048576."
    }
    validation {
      condition     = param.max_line_bytes <= 61411 || substr(param.sink, 0, 11) != "syslog+udp:"
      error_message = "max_line_bytes must be at most 61411 for syslog+udp: a message has to fit into a datagram."
    }
  }

  parameter "batch_lines" {
    type        = number
    default     = 1000
    description = "Maximum number of lines in a batch."
    validation {
      condition     = param.batch_lines >= 1 && floor(param.batch_lines) == param.batch_lines
      error_message = "batch_lines must be a whole number, 1 or more."
    }
  }

  parameter "batch_bytes" {
    type        = number
    default     = 1048576
    description = "Maximum size of a batch in bytes."
    validation {
      condition     = param.batch_bytes >= 1 && param.batch_bytes <= 8388608 && floor(param.batch_bytes) == param.batch_bytes
      error_message = "batch_bytes must be a whole number between 1 and 8388608."
    }
  }

  parameter "batch_wait" {
    type        = string
    default     = "1s"
    description = "Maximum time that a line waits for its batch to fill."
    validation {
      condition     = regex_replace(param.batch_wait, "^([0-9]+(ms|s|m))+$", "") == ""
      error_message = "batch_wait must be a duration such as 500ms or 2s."
    }
  }

  parameter "http_headers" {
    type        = string
    default     = null
    example     = "Authorization: Bearer {{ with nomadVar \"nomad/jobs/web\" }}{{ .token }}{{ end }}"
    description = "Additional headers, one per line. A Nomad template, so that secrets can stay out of the job."
  }

  parameter "syslog_facility" {
    type        = string
    default     = "user"
    description = "Facility of syslog messages: user, daemon, local0 to local7, or another of RFC 5424."
    validation {
      condition = contains([
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
      ], param.syslog_facility)
      error_message = "syslog_facility must be user, daemon, local0 to local7, or another of RFC 5424."
    }
  }

  parameter "syslog_enterprise" {
    type        = number
    default     = 0
    description = "Your private enterprise number; adds namespace, job, group and task to syslog messages as structured data."
    validation {
      condition     = param.syslog_enterprise >= 0 && param.syslog_enterprise <= 4294967295 && floor(param.syslog_enterprise) == param.syslog_enterprise
      error_message = "syslog_enterprise must be a private enterprise number assigned by IANA, or 0."
    }
  }

  parameter "file_max_bytes" {
    type        = number
    default     = 104857600
    description = "Size at which a new file is started; 0 means never."
    validation {
      condition     = param.file_max_bytes >= 0 && floor(param.file_max_bytes) == param.file_max_bytes
      error_message = "file_max_bytes must be a whole number, 0 or more."
    }
  }

  parameter "file_keep" {
    type        = number
    default     = 5
    description = "Number of full files to keep, as NAME.1 (the newest), NAME.2 and so on."
    validation {
      condition     = param.file_keep >= 0 && floor(param.file_keep) == param.file_keep
      error_message = "file_keep must be a whole number, 0 or more."
    }
  }

  parameter "volume" {
    type        = string
    default     = null
    description = "Volume of the group, mounted at /volume, for a file that outlives the allocation."
  }

  parameter "user" {
    type        = string
    default     = null
    description = "User the shipper runs as, for a volume with restricted write access. Omitted: the driver's default."
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program. Omitted: the program runs from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/log-shipper"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  api {
    directory "alloc/logs" {
      access      = "read"
      description = "The tasks' logs, as Nomad writes and rotates them."
    }
  }

  task "log-shipper" {
    driver = "pod"
    user   = param.user

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args = concat(
        [
          "-sink", param.sink,
          "-format", param.format,
          "-max-line", format("%d", param.max_line_bytes),
          "-batch-lines", format("%d", param.batch_lines),
          "-batch-bytes", format("%d", param.batch_bytes),
          "-batch-wait", param.batch_wait,
          "-facility", param.syslog_facility,
          "-enterprise", format("%d", param.syslog_enterprise),
          "-file-max-bytes", format("%d", param.file_max_bytes),
          "-file-keep", format("%d", param.file_keep),
        ],
        flatten([for stream in param.streams : ["-stream", stream]]),
        flatten([for task in param.tasks : ["-task", task]]),
        flatten([for task in param.exclude : ["-exclude", task]]),
        param.http_headers == null ? [] : ["-headers", "${NOMAD_SECRETS_DIR}/headers"],
      )
    }

    # After the stop signal it ships the remaining lines for up to 12 seconds.
    kill_timeout = "15s"

    template {
      enabled     = param.http_headers != null
      destination = "secrets/headers"
      data        = param.http_headers
    }

    volume_mount {
      enabled     = param.volume != null
      volume      = param.volume
      destination = "/volume"
    }

    # The group's own restart block may give up and with it end the
    # application; meanwhile Nomad's files keep the lines that were not shipped.
    restart {
      attempts = 5
      interval = "1m"
      delay    = "2s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 48
    }
  }

  example "HTTPS with a token" {
    description = "Batches of JSON lines, with a token from a Nomad variable."
    parameters = {
      sink         = "https://logs.example.com/in"
      http_headers = "Authorization: Bearer {{ with nomadVar \"nomad/jobs/web\" }}{{ .token }}{{ end }}"
    }
  }
}
