sidecar "NAME" {
  version = "0.1.0"
  summary = "Says in one sentence what NAME does."

  # What differs from job to job.
  parameter "port" {
    type        = number
    default     = 9100
    description = "Port that NAME listens on inside the pod."
    validation {
      condition     = param.port >= 1 && param.port <= 65535 && floor(param.port) == param.port
      error_message = "port must be a whole number between 1 and 65535."
    }
  }

  # What it offers and touches.
  api {
    port "NAME" {
      to          = param.port
      description = "What answers here."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  # What is injected, in Nomad's own words.
  task "NAME" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      command = "/opt/NAME/bin/NAME"
      args    = ["-listen", ":${param.port}"]
    }

    # A sidecar that gives up would end the application with it.
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
}
