sidecar "wait-for" {
  version = "1.0.0"
  summary = "Delays the application until its dependencies answer."

  parameter "targets" {
    type        = list(string)
    example     = ["tcp://db.example.com:5432", "https://auth.example.com/health"]
    description = "Targets that must answer: tcp://HOST:PORT, http:// or https:// addresses, dns://NAME, file:///PATH."
    validation {
      condition     = length(param.targets) > 0
      error_message = "targets must name at least one address to wait for."
    }
    validation {
      condition     = length([for t in param.targets : t if regex_replace(t, "^((tcp|https?|dns)://[^/]|file:///).*$", "") != ""]) == 0
      error_message = "targets must be addresses as tcp://HOST:PORT, http://…, https://…, dns://NAME or file:///PATH."
    }
  }

  parameter "timeout" {
    type        = string
    default     = "5m"
    description = "How long to wait before failing the allocation."
    validation {
      condition     = param.timeout != "" && regex_replace(param.timeout, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "") == ""
      error_message = "timeout must be a duration such as 90s or 5m."
    }
  }

  parameter "interval" {
    type        = string
    default     = "1s"
    description = "Pause after the first attempt on a target; doubles with each attempt."
    validation {
      condition     = param.interval != "" && regex_replace(param.interval, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "") == ""
      error_message = "interval must be a duration such as 500ms or 1s."
    }
  }

  parameter "max_interval" {
    type        = string
    default     = "15s"
    description = "Longest pause between attempts; at least interval."
    validation {
      condition     = param.max_interval != "" && regex_replace(param.max_interval, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "") == ""
      error_message = "max_interval must be a duration such as 15s."
    }
  }

  parameter "attempt_timeout" {
    type        = string
    default     = "5s"
    description = "Time limit of one attempt."
    validation {
      condition     = param.attempt_timeout != "" && regex_replace(param.attempt_timeout, "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$", "") == ""
      error_message = "attempt_timeout must be a duration such as 5s."
    }
  }

  parameter "status" {
    type        = list(number)
    default     = []
    description = "HTTP statuses that count as an answer; empty means any 2xx. Redirects are not followed."
    validation {
      condition     = length([for s in param.status : s if s < 100 || s > 599 || floor(s) != s]) == 0
      error_message = "status must be HTTP statuses, from 100 to 599."
    }
  }

  parameter "ca_file" {
    type        = string
    default     = null
    description = "Absolute path, in the task, of a PEM file with trusted certificate authorities for HTTPS. Omitted: the system's."
    validation {
      condition     = param.ca_file == null ? true : substr(param.ca_file, 0, 1) == "/"
      error_message = "ca_file must be an absolute path."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program. Omitted: the program runs from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/wait-for"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  task "wait-for" {
    driver = "pod"

    # No sidecar: it ends, and then the application starts.
    lifecycle {
      hook    = "prestart"
      sidecar = false
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args = concat(
        flatten([for t in param.targets : ["-target", t]]),
        ["-timeout", param.timeout, "-interval", param.interval, "-max-interval", param.max_interval, "-attempt-timeout", param.attempt_timeout],
        length(param.status) > 0 ? ["-status", join(",", param.status)] : [],
        param.ca_file == null ? [] : ["-ca-file", param.ca_file],
      )
    }

    # It has tried for as long as it was told to. What comes next is the
    # group's to say, by its reschedule block.
    restart {
      attempts = 0
      mode     = "fail"
    }

    resources {
      cpu    = 20
      memory = 32
    }
  }

  example "a database and a service" {
    description = "The application starts when both answer."
    parameters = {
      targets = ["tcp://db.example.com:5432", "https://auth.example.com/healthz"]
    }
  }
}
