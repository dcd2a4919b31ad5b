sidecar "metrics" {
  version = "1.0.0"
  summary = "Exports the resource usage of each task of the pod for Prometheus."

  parameter "port" {
    type        = number
    default     = 9102
    description = "Port the metrics are served on inside the pod."
    validation {
      condition     = param.port >= 1 && param.port <= 65535 && floor(param.port) == param.port
      error_message = "port must be a whole number between 1 and 65535."
    }
  }

  parameter "service" {
    type        = string
    default     = null
    example     = "web-metrics"
    description = "Name of a service to register for the port, for discovery by Prometheus. Omitted: no service."
  }

  parameter "service_provider" {
    type        = string
    default     = "nomad"
    description = "Where the service is registered: nomad or consul, the same as the group's other services."
    validation {
      condition     = contains(["nomad", "consul"], param.service_provider)
      error_message = "service_provider must be nomad or consul."
    }
  }

  parameter "alloc_id" {
    type        = bool
    default     = false
    description = "Add the label alloc_id to pod_info. Its values are unbounded: each allocation has a new one."
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the program. Omitted: the program runs from the client's host paths."
  }

  parameter "command" {
    type        = string
    default     = "/opt/nomad-sidecar/bin/metrics"
    description = "Absolute path of the program, in the image or on the client."
    validation {
      condition     = substr(param.command, 0, 1) == "/"
      error_message = "command must be an absolute path."
    }
  }

  api {
    port "metrics" {
      to          = param.port
      description = "The metrics at /metrics, health at /healthz. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
    share   = ["pid"]
  }

  task "metrics" {
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
      args       = concat(["-listen", ":${param.port}"], param.alloc_id ? ["-alloc-id"] : [])
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
      memory = 32
    }
  }

  service {
    enabled  = param.service != null
    name     = param.service
    provider = param.service_provider
    port     = "metrics"
  }

  example "a service for Prometheus" {
    description = "Prometheus finds the endpoint as a service of Nomad."
    parameters = {
      service = "web-metrics"
    }
  }
}
