sidecar "exporter" {
  version = "1.0.0"
  summary = "Exports the metrics of redis, PostgreSQL, MySQL, nginx or StatsD clients for Prometheus."

  parameter "kind" {
    type        = string
    example     = "redis"
    description = "What to export: redis, postgres, mysqld, nginx or statsd."
    validation {
      condition     = contains(["redis", "postgres", "mysqld", "nginx", "statsd"], param.kind)
      error_message = "kind must be redis, postgres, mysqld, nginx or statsd."
    }
  }

  parameter "address" {
    type        = string
    default     = null
    example     = "127.0.0.1:6379"
    description = "Host and port of the server; of kind statsd, on which it receives. Omitted: the usual port on loopback, for nginx 8080."
    validation {
      condition     = param.address == null ? true : param.address != "" && regex_replace(param.address, "^[A-Za-z0-9.-]{1,253}:[1-9][0-9]{0,4}$", "") == ""
      error_message = "address must be host:port, such as 127.0.0.1:6379."
    }
  }

  parameter "path" {
    type        = string
    default     = "/stub_status"
    description = "Of kind nginx: path of its stub_status."
    validation {
      condition     = param.path != "" && regex_replace(param.path, "^/[A-Za-z0-9/._~-]{0,255}$", "") == ""
      error_message = "path must be a path such as /stub_status: letters, digits, and / . _ ~ -."
    }
  }

  parameter "user" {
    type        = string
    default     = null
    example     = "exporter"
    description = "User of redis, PostgreSQL or MySQL. Omitted: redis' default user, postgres, or exporter."
    validation {
      condition     = param.user == null ? true : contains(["redis", "postgres", "mysqld"], param.kind) && param.user != "" && regex_replace(param.user, "^[A-Za-z0-9_.-]{1,63}$", "") == ""
      error_message = "user must be letters, digits, and _ . -, and needs kind redis, postgres or mysqld."
    }
  }

  parameter "password_variable" {
    type        = string
    default     = null
    example     = "nomad/jobs/shop"
    description = "Path of the Nomad variable whose item password is the user's password. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.password_variable == null ? true : contains(["redis", "postgres", "mysqld"], param.kind) && param.password_variable != "" && regex_replace(param.password_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "password_variable must be the path of a Nomad variable, such as nomad/jobs/shop, and needs kind redis, postgres or mysqld."
    }
    validation {
      condition     = param.kind != "mysqld" || param.password_variable != null
      error_message = "password_variable is needed for kind mysqld: its exporter does not start without a password."
    }
  }

  parameter "database" {
    type        = string
    default     = "postgres"
    description = "Of kind postgres: database to connect to."
    validation {
      condition     = param.database != "" && regex_replace(param.database, "^[A-Za-z0-9_.-]{1,63}$", "") == ""
      error_message = "database must be letters, digits, and _ . -."
    }
  }

  parameter "args" {
    type        = list(string)
    default     = []
    example     = ["-check-keys=db0=session:*"]
    description = "Further flags of the exporter."
    validation {
      condition     = length([for a in param.args : a if a == null ? true : substr(a, 0, 1) != "-"]) == 0
      error_message = "args must be flags, such as --name=value."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 9107
    description = "Port of the metrics inside the pod."
    validation {
      condition     = param.listen_port >= 1024 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "service" {
    type        = string
    default     = null
    example     = "shop-redis-metrics"
    description = "Nomad service to register for the metrics, with the tag metrics, so that Prometheus finds them. Omitted: none."
    validation {
      condition     = param.service == null ? true : param.service != "" && regex_replace(param.service, "^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", "") == ""
      error_message = "service must be the name of a service: letters, digits and dashes, at most 63."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with the exporter. Omitted: the client's own programs."
  }

  parameter "command" {
    type        = string
    default     = null
    description = "Absolute path of the exporter, in the image or on the client. Omitted: the path in Debian, /usr/bin/prometheus-KIND-exporter."
    validation {
      condition     = param.command == null ? true : param.command != "" && regex_replace(param.command, "^/[A-Za-z0-9/._-]+$", "") == ""
      error_message = "command must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    address = coalesce(param.address, {
      redis    = "127.0.0.1:6379"
      postgres = "127.0.0.1:5432"
      mysqld   = "127.0.0.1:3306"
      nginx    = "127.0.0.1:8080"
      statsd   = "127.0.0.1:9125"
    }[param.kind])

    args = {
      redis    = ["-redis.addr=redis://${local.address}", "-web.listen-address=:${param.listen_port}"]
      postgres = ["--web.listen-address=:${param.listen_port}"]
      mysqld   = ["--config.my-cnf=/secrets/my.cnf", "--web.listen-address=:${param.listen_port}"]

      # It ends if nginx does not answer at its start.
      nginx = [
        "-nginx.scrape-uri=http://${local.address}${param.path}", "-web.listen-address=:${param.listen_port}",
        "-nginx.retries=30", "-nginx.retry-interval=1s",
      ]
      statsd = ["--statsd.listen-udp=${local.address}", "--statsd.listen-tcp=${local.address}", "--web.listen-address=:${param.listen_port}"]
    }[param.kind]
  }

  api {
    port "exporter" {
      to          = param.listen_port
      description = "Metrics for Prometheus at /metrics. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "exporter" {
    driver = "pod"

    # Clients of StatsD send from their start; the others are asked when they run.
    lifecycle {
      hook    = param.kind == "statsd" ? "prestart" : "poststart"
      sidecar = true
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = coalesce(param.command, "/usr/bin/prometheus-${param.kind}-exporter")
      args       = concat(local.args, param.args)
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        tcp      = "127.0.0.1:${param.listen_port}"
        interval = "50ms"
        timeout  = "1m"
      }
    }

    env {
      REDIS_USER       = param.kind == "redis" ? param.user : null
      DATA_SOURCE_URI  = param.kind == "postgres" ? "${local.address}/${param.database}?sslmode=disable" : null
      DATA_SOURCE_USER = param.kind == "postgres" ? coalesce(param.user, "postgres") : null
    }

    # The password is on no command line, where every task of a shared PID
    # namespace could read it.
    template {
      enabled     = param.password_variable != null && param.kind != "mysqld"
      destination = "secrets/exporter.env"
      env         = true
      data        = <<-EOT
        {{ with nomadVar "${coalesce(param.password_variable, "-")}" }}${param.kind == "redis" ? "REDIS_PASSWORD" : "DATA_SOURCE_PASS"}={{ .password.Value | toJSON }}{{ end }}
      EOT
    }

    template {
      enabled     = param.kind == "mysqld"
      destination = "secrets/my.cnf"
      perms       = "644"
      data        = <<-EOT
        [client]
        host = ${split(":", local.address)[0]}
        port = ${split(":", local.address)[1]}
        user = ${coalesce(param.user, "exporter")}%{if param.password_variable != null}
        password = {{ with nomadVar "${coalesce(param.password_variable, "-")}" }}`{{ .password.Value }}`{{ end }}%{endif}
      EOT
    }

    # Prometheus has time to forget the address before the exporter ends.
    shutdown_delay = param.service == null ? null : "5s"

    service {
      enabled  = param.service != null
      provider = "nomad"
      name     = param.service
      port     = "exporter"
      tags     = ["metrics"]

      check {
        type     = "http"
        path     = "/"
        interval = "15s"
        timeout  = "5s"
      }
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
      cpu    = 50
      memory = 48
    }
  }

  example "redis" {
    description = "Metrics of a redis in the same pod, found by Prometheus as a service."
    parameters = {
      kind    = "redis"
      service = "shop-redis-metrics"
    }
  }
}
