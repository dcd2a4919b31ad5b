sidecar "config-reloader" {
  version = "1.0.0"
  summary = "Fetches or renders an application's configuration, and signals the application when it changes."

  parameter "app_task" {
    type        = string
    example     = "app"
    description = "Task that receives the signal."
  }

  parameter "destination" {
    type        = string
    example     = "config/web.conf"
    description = "Path of the configuration below the allocation's directory: config/web.conf is /alloc/config/web.conf in each task."
    validation {
      condition     = length([for part in split("/", param.destination) : part if contains(["", ".", ".."], part)]) == 0 && split("/", param.destination)[0] != "logs"
      error_message = "destination must be a path below the allocation's directory, such as config/web.conf, and not below logs."
    }
  }

  parameter "source" {
    type        = string
    default     = null
    example     = "https://config.example.com/web.conf"
    description = "Source of the configuration: http://…, https://… or the absolute path of a file."
    validation {
      condition     = param.source == null || regex_replace(coalesce(param.source, "/x"), "^(https?://[^/ ]+\\S*|/.*[^/])$", "") == ""
      error_message = "source must be a URL such as https://config.example.com/web.conf, or an absolute path such as /alloc/data/web.conf."
    }
    validation {
      condition     = (param.source == null) != (param.template == null)
      error_message = "Give one of source and template: where the configuration comes from, or the template it is made of."
    }
  }

  parameter "template" {
    type        = string
    default     = null
    example     = "listen {{ .Values.port }};"
    description = "The configuration itself, as a Go text/template."
    validation {
      condition     = param.template == null || length(split("<<<nomad:", coalesce(param.template, "-"))) == 1
      error_message = "template must not hold \"<<<nomad:\", which Nomad would take for the beginning of a template of its own."
    }
  }

  parameter "render" {
    type        = bool
    default     = false
    description = "Render the source as a template too."
  }

  parameter "values" {
    type        = string
    default     = null
    example     = "https://config.example.com/web.json"
    description = "Source of a template's .Values, as JSON: http://…, https://… or the absolute path of a file."
    validation {
      condition     = param.values == null || regex_replace(coalesce(param.values, "/x"), "^(https?://[^/ ]+\\S*|/.*[^/])$", "") == ""
      error_message = "values must be a URL such as https://config.example.com/web.json, or an absolute path such as /alloc/data/web.json."
    }
    validation {
      condition     = param.values == null || param.render || param.template != null
      error_message = "values are for templates: set render = true, or leave values out."
    }
  }

  parameter "http_headers" {
    type        = string
    default     = null
    example     = "Authorization: Bearer {{ with nomadVar \"nomad/jobs/web\" }}{{ .token }}{{ end }}"
    description = "Request headers, one per line. A Nomad template, so that secrets can stay out of the job."
  }

  parameter "check" {
    type        = list(string)
    default     = []
    example     = ["/usr/sbin/nginx", "-t", "-c", "{}"]
    description = "A command that must accept a configuration before it is put in place; {} is the path of the candidate file."
  }

  parameter "signal" {
    type        = string
    default     = "SIGHUP"
    description = "Signal sent to the application when its configuration has changed."
    validation {
      condition     = contains(["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH"], param.signal)
      error_message = "signal must be one of SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH."
    }
  }

  parameter "process" {
    type        = string
    default     = null
    description = "Name of the process to signal, if it is not the task's first process."
  }

  parameter "interval" {
    type        = string
    default     = "10s"
    description = "Interval between checks of source and values."
    validation {
      condition     = regex_replace(param.interval, "^([0-9]+(ms|s|m|h))+$", "") == ""
      error_message = "interval must be a duration such as 10s or 5m."
    }
  }

  parameter "start_timeout" {
    type        = string
    default     = "1m"
    description = "How long the application waits for its first configuration before the start is retried."
    validation {
      condition     = regex_replace(param.start_timeout, "^([0-9]+(ms|s|m|h))+$", "") == ""
      error_message = "start_timeout must be a duration such as 30s or 5m."
    }
  }

  parameter "mode" {
    type        = string
    default     = "0644"
    description = "Permissions of the configuration, in octal."
    validation {
      condition     = regex_replace(param.mode, "^0?[0-7]{3}$", "") == ""
      error_message = "mode must be permissions in octal, such as 0644."
    }
  }

  parameter "user" {
    type        = string
    default     = null
    description = "User the reloader runs as: the application's, or root. Omitted: the driver's default, as for an application without an image."
  }

  parameter "volume" {
    type        = string
    default     = null
    description = "Volume of the group, mounted read-only at /volume, for a source or values that are files."
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program and the check command. Omitted: both run from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/config-reloader"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  api {
    directory "alloc/config-reloader" {
      access      = "write"
      description = "status.json: the current configuration, when it was written and the application signalled, and the error of the last check."
    }
    signal "SIGHUP" {
      description = "Checks for a change immediately."
    }
  }

  requires {
    share = ["pid"]
  }

  task "config-reloader" {
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
          # An index that is invalid here is an app_task that the group has not.
          "-task", { for task in app.tasks : task => task }[param.app_task],
          "-destination", param.destination,
          "-mode", param.mode,
          "-interval", param.interval,
          "-signal", param.signal,
        ],
        param.template == null ? ["-source", param.source] : ["-source", "${NOMAD_TASK_DIR}/template", "-render"],
        param.template == null && param.render ? ["-render"] : [],
        param.values == null ? [] : ["-values", param.values],
        param.process == null ? [] : ["-process", param.process],
        param.http_headers == null ? [] : ["-headers", "${NOMAD_SECRETS_DIR}/headers"],
        flatten([for word in param.check : ["-check", word]]),
      )
      share = ["ipc", "uts", "pid"]

      # Root is needed for nothing but to signal other users' processes; a
      # check is the application's own program, which may need files of that task.
      cap_drop = length(param.check) == 0 ? ["all"] : null
      cap_add  = length(param.check) == 0 && param.user == "root" ? ["kill"] : null

      # The application starts when there is something to read.
      ready {
        file    = "/alloc/${param.destination}"
        timeout = param.start_timeout
      }
    }

    # Nomad's template language is not the one that is meant here: its
    # delimiters are made something that no template has.
    template {
      enabled         = param.template != null
      destination     = "local/template"
      data            = param.template
      left_delimiter  = "<<<nomad:"
      right_delimiter = ":nomad>>>"
      change_mode     = "noop"
    }

    template {
      enabled     = param.http_headers != null
      destination = "secrets/headers"
      data        = param.http_headers
    }

    volume_mount {
      enabled     = param.volume != null
      volume      = param.volume
      destination = "/volume"
      read_only   = true
    }

    # The group's own restart block may give up and with it end the
    # application, which continues with its current configuration.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 32
    }
  }

  example "a file from a server" {
    description = "nginx reloads when the file on the configuration server changes and nginx accepts it."
    parameters = {
      app_task    = "app"
      destination = "config/web.conf"
      source      = "https://config.example.com/web.conf"
      check       = ["/usr/sbin/nginx", "-t", "-c", "{}"]
    }
  }
}
