sidecar "topz" {
  version = "1.0.0"
  summary = "Shows the processes of the whole pod, as a page and as JSON."

  parameter "port" {
    type        = number
    default     = 8099
    description = "Port the page is served on inside the pod."
    validation {
      condition     = param.port >= 1 && param.port <= 65535 && floor(param.port) == param.port
      error_message = "port must be a whole number between 1 and 65535."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program. Omitted: the program runs from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/topz"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  api {
    port "topz" {
      to          = param.port
      description = "The page at /, the same as JSON at /api/processes, health at /healthz. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
    share   = ["pid"]
  }

  task "topz" {
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
      args       = ["-listen", ":${param.port}"]
      share      = ["ipc", "uts", "pid"]
    }

    # The group's own restart block may give up and with it end the
    # application; a viewer that fails only waits and tries again.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 48
    }
  }

  example "another port" {
    description = "The endpoint at a port of your choice."
    parameters = {
      port = 8100
    }
  }
}
