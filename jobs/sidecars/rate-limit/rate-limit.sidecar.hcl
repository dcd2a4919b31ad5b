sidecar "rate-limit" {
  version = "1.0.0"
  summary = "Limits the request rate of each client of an HTTP application."

  parameter "app_port" {
    type        = number
    example     = 8080
    description = "Loopback port the application listens on."
    validation {
      condition     = param.app_port >= 1 && param.app_port <= 65535 && floor(param.app_port) == param.app_port
      error_message = "app_port must be a whole number between 1 and 65535."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 8088
    description = "Port the limited application is served on inside the pod."
    validation {
      condition     = param.listen_port >= 1 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number between 1 and 65535."
    }
    validation {
      condition     = param.listen_port != param.app_port
      error_message = "listen_port must differ from app_port: both are ports of the same pod."
    }
  }

  parameter "admin_port" {
    type        = number
    default     = 9103
    description = "Port of health and metrics inside the pod."
    validation {
      condition     = param.admin_port >= 1 && param.admin_port <= 65535 && floor(param.admin_port) == param.admin_port
      error_message = "admin_port must be a whole number between 1 and 65535."
    }
    validation {
      condition     = !contains([param.app_port, param.listen_port], param.admin_port)
      error_message = "admin_port must differ from app_port and listen_port: all are ports of the same pod."
    }
  }

  parameter "rate" {
    type        = number
    example     = 10
    description = "Requests per second allowed for each client on average."
    validation {
      condition     = param.rate > 0
      error_message = "rate must be more than 0; it may be a fraction, such as 0.5 for one in two seconds."
    }
  }

  parameter "burst" {
    type        = number
    default     = null
    description = "Requests that a client may send in a burst after an idle time. Omitted: one second's requests."
    validation {
      condition     = param.burst == null ? true : param.burst >= 1 && floor(param.burst) == param.burst
      error_message = "burst must be a whole number of 1 or more."
    }
  }

  parameter "global_rate" {
    type        = number
    default     = null
    description = "Requests per second of all clients together. Omitted: no such limit."
    validation {
      condition     = param.global_rate == null ? true : param.global_rate > 0
      error_message = "global_rate must be more than 0."
    }
  }

  parameter "global_burst" {
    type        = number
    default     = null
    description = "Requests of all clients in a burst. Omitted: one second's requests."
    validation {
      condition     = param.global_burst == null ? true : param.global_rate != null && param.global_burst >= 1 && floor(param.global_burst) == param.global_burst
      error_message = "global_burst must be a whole number of 1 or more, and needs global_rate."
    }
  }

  parameter "max_concurrent" {
    type        = number
    default     = 0
    description = "Maximum number of open requests, WebSockets included; 0 means no limit."
    validation {
      condition     = param.max_concurrent >= 0 && floor(param.max_concurrent) == param.max_concurrent
      error_message = "max_concurrent must be a whole number of 0 or more."
    }
  }

  parameter "max_clients" {
    type        = number
    default     = 10000
    description = "Number of clients to keep in memory. The least recently active client is evicted first, and starts again with a full bucket."
    validation {
      condition     = param.max_clients >= 1 && floor(param.max_clients) == param.max_clients
      error_message = "max_clients must be a whole number of 1 or more."
    }
  }

  parameter "key_header" {
    type        = string
    default     = null
    example     = "X-Api-Key"
    description = "Header that identifies the client instead of its address, if set. A client that can choose its value freely is not limited."
    validation {
      condition     = param.key_header == null ? true : param.key_header != "" && regex_replace(param.key_header, "^[A-Za-z0-9-]+$", "") == ""
      error_message = "key_header must be the name of a header, such as X-Api-Key."
    }
  }

  parameter "trusted_proxies" {
    type        = list(string)
    default     = []
    example     = ["127.0.0.1"]
    description = "Addresses and networks of proxies that are trusted to set X-Forwarded-For."
    validation {
      condition     = length([for p in param.trusted_proxies : p if regex_replace(p, "^[0-9A-Fa-f.:]+(/[0-9]+)?$", "") != ""]) == 0
      error_message = "trusted_proxies must be addresses or networks, such as 127.0.0.1 or 10.0.0.0/8."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program. Omitted: the program runs from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/rate-limit"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  api {
    port "rate-limit" {
      to          = param.listen_port
      description = "The application, limited. Plain HTTP/1.1, WebSockets."
    }
    port "rate-limit-admin" {
      to          = param.admin_port
      description = "Metrics for Prometheus at /metrics, health at /healthz. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "rate-limit" {
    driver = "pod"

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
        ["-listen=:${param.listen_port}", "-admin=:${param.admin_port}", "-app=127.0.0.1:${param.app_port}"],
        ["-rate=${param.rate}", "-max-clients=${param.max_clients}", "-max-concurrent=${param.max_concurrent}"],
        param.burst == null ? [] : ["-burst=${param.burst}"],
        param.global_rate == null ? [] : ["-global-rate=${param.global_rate}"],
        param.global_burst == null ? [] : ["-global-burst=${param.global_burst}"],
        param.key_header == null ? [] : ["-key-header=${param.key_header}"],
        [for p in param.trusted_proxies : "-trusted-proxy=${p}"],
      )
      share = param.share_pid ? ["ipc", "uts", "pid"] : null
    }

    # The group's own restart block may give up and with it end the
    # application.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 100
      memory = 64
    }
  }

  output "port" {
    value       = param.listen_port
    description = "Port inside the pod, for a proxy in front."
  }

  example "by API key" {
    description = "Ten requests a second for each key."
    parameters = {
      app_port   = 8080
      rate       = 10
      key_header = "X-Api-Key"
    }
  }
}
