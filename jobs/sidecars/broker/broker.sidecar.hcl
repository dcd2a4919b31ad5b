sidecar "broker" {
  version = "1.0.0"
  summary = "Connects the application to Nomad services: health checks, retries and balancing, at fixed local ports."

  parameter "upstreams" {
    type        = map(number)
    example     = { api = 9001 }
    description = "Loopback port of each Nomad service that the application calls, by the service's name."
    validation {
      condition     = length(param.upstreams) > 0 && length(param.upstreams) <= 50
      error_message = "upstreams must name 1 to 50 services, such as { api = 9001 }."
    }
    validation {
      condition     = length([for name, port in param.upstreams : name if name == "" || regex_replace(name, "^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", "") != ""]) == 0
      error_message = "upstreams must be names of Nomad services: letters, digits and dashes, at most 63."
    }
    validation {
      condition     = length([for name, port in param.upstreams : name if port == null ? true : port < 1024 || port > 65535 || floor(port) != port]) == 0
      error_message = "upstreams must have whole numbers from 1024 to 65535 as ports."
    }
    validation {
      condition     = length(distinct(concat(values(param.upstreams), [param.admin_port]))) == length(param.upstreams) + 1
      error_message = "upstreams must have different ports, none of them admin_port: all are ports of the same pod."
    }
  }

  parameter "mode" {
    type        = string
    default     = "http"
    description = "Protocol of the services: http or tcp. Requests are retried only with http, connections with both."
    validation {
      condition     = contains(["http", "tcp"], param.mode)
      error_message = "mode must be http or tcp."
    }
  }

  parameter "check_path" {
    type        = string
    default     = null
    example     = "/healthz"
    description = "Path that a healthy instance answers with a status from 200 to 399. Omitted: an instance is healthy if it accepts connections."
    validation {
      condition     = param.check_path == null ? true : param.mode == "http" && param.check_path != "" && regex_replace(param.check_path, "^/[A-Za-z0-9/._~-]{0,255}$", "") == ""
      error_message = "check_path must be a path such as /healthz: letters, digits, and / . _ ~ -; and needs mode = \"http\"."
    }
  }

  parameter "balance" {
    type        = string
    default     = "roundrobin"
    description = "How instances are chosen: roundrobin, leastconn or random."
    validation {
      condition     = contains(["roundrobin", "leastconn", "random"], param.balance)
      error_message = "balance must be roundrobin, leastconn or random."
    }
  }

  parameter "retries" {
    type        = number
    default     = 3
    description = "Further attempts for a request, on other instances if there are any. GET, HEAD, OPTIONS, PUT and DELETE are also sent again after an empty response or status 503; others only if no connection was made."
    validation {
      condition     = param.retries >= 0 && param.retries <= 10 && floor(param.retries) == param.retries
      error_message = "retries must be a whole number from 0 to 10."
    }
  }

  parameter "connect_timeout" {
    type        = string
    default     = "2s"
    description = "How long to wait for a connection to an instance."
    validation {
      condition     = param.connect_timeout != "" && regex_replace(param.connect_timeout, "^[1-9][0-9]{0,5}(ms|s|m)$", "") == ""
      error_message = "connect_timeout must be a number of ms, s or m, such as 500ms."
    }
  }

  parameter "timeout" {
    type        = string
    default     = "1m"
    description = "How long the application or an instance may be silent."
    validation {
      condition     = param.timeout != "" && regex_replace(param.timeout, "^[1-9][0-9]{0,5}(ms|s|m|h)$", "") == ""
      error_message = "timeout must be a number of ms, s, m or h, such as 30s."
    }
  }

  parameter "wait" {
    type        = bool
    default     = false
    description = "Start the application when each service has a healthy instance, instead of when the broker listens. The broker fails, and tries again, after 5 minutes."
  }

  parameter "admin_port" {
    type        = number
    default     = 9104
    description = "Port of health and metrics inside the pod."
    validation {
      condition     = param.admin_port >= 1024 && param.admin_port <= 65535 && floor(param.admin_port) == param.admin_port
      error_message = "admin_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "max_connections" {
    type        = number
    default     = 500
    description = "Open connections of the application to all services together; more wait. Each needs 34 KB at most."
    validation {
      condition     = param.max_connections >= 1 && param.max_connections <= 100000 && floor(param.max_connections) == param.max_connections
      error_message = "max_connections must be a whole number from 1 to 100000."
    }
  }

  parameter "access_log" {
    type        = bool
    default     = false
    description = "Log every request. Otherwise only those that fail."
  }

  parameter "memory" {
    type        = number
    default     = 64
    description = "Memory in MB to reserve."
    validation {
      condition     = param.memory >= 32 && floor(param.memory) == param.memory
      error_message = "memory must be a whole number of at least 32."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with haproxy and a shell. Omitted: the client's own programs."
  }

  parameter "command" {
    type        = string
    default     = "/usr/sbin/haproxy"
    description = "Absolute path of haproxy, in the image or on the client."
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
    port "broker-admin" {
      to          = param.admin_port
      description = "Metrics for Prometheus at /metrics, health at /healthz and /readyz. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "broker" {
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
      args       = ["-W", "-db", "-p", "/local/haproxy.pid", "-f", "/local/haproxy.cfg"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        http     = "http://127.0.0.1:${param.admin_port}/${param.wait ? "readyz" : "healthz"}"
        interval = "50ms"
        timeout  = param.wait ? "5m" : "30s"
      }
    }

    # haproxy ends immediately on SIGTERM; on SIGUSR1 it first completes open requests.
    kill_signal = "SIGUSR1"

    template {
      destination = "local/haproxy.cfg"

      # With change_mode = "signal" Nomad fails the allocation if the program
      # happens not to run when the services change. A restarted program reads
      # the new file in any case.
      change_mode = "script"
      change_script {
        command       = "/bin/sh"
        args          = ["-c", "kill -USR2 \"$(cat /local/haproxy.pid)\""]
        timeout       = "10s"
        fail_on_error = false
      }

      # A change of many instances is one reload.
      wait {
        min = "1s"
        max = "5s"
      }

      data = <<-EOT
        global
          log stdout format raw local0 ${param.access_log ? "info" : "notice"}
          # Without limits haproxy reserves memory for as many connections as
          # the descriptors that it may open.
          maxconn ${param.max_connections + 50}
          fd-hard-limit ${4 * param.max_connections + 500}
          # A reload leaves the old process to its open connections for so long.
          hard-stop-after 1m
          mworker-max-reloads 5
          nbthread 1

        defaults
          log global
          mode ${param.mode}
          option redispatch 1
          retries ${param.retries}
          maxconn ${param.max_connections}
          timeout connect ${param.connect_timeout}
          timeout queue   ${param.connect_timeout}
          timeout client  ${param.timeout}
          timeout server  ${param.timeout}
          timeout tunnel  1h
          timeout check   2s
          default-server check inter 2s fastinter 500ms fall 2 rise 1 init-addr last,libc,none

        # monitor-uri is not counted, logged or limited.
        frontend broker-admin
          mode http
          maxconn 50
          bind :${param.admin_port}
          timeout client 10s
          monitor-uri /readyz%{for name, port in param.upstreams}
          monitor fail if { nbsrv(service.${name}) lt 1 }%{endfor}
          http-request return status 200 content-type text/plain string ok if { path /healthz }
          http-request use-service prometheus-exporter if { path /metrics }
          http-request return status 404 content-type text/plain string "use /metrics, /healthz or /readyz"%{for name, port in param.upstreams}

        listen service.${name}
          bind 127.0.0.1:${port}
          balance ${param.balance}%{if param.mode == "http"}
          option httplog%{if !param.access_log}
          option dontlog-normal%{endif}
          retry-on conn-failure empty-response 503
          # A request that an instance may have received is repeated only if
          # repeating it has the same effect.
          http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE }%{if param.check_path != null}
          option httpchk GET ${coalesce(param.check_path, "/")}
          http-check expect status 200-399%{endif}%{else}
          option tcplog%{if !param.access_log}
          option dontlog-normal%{endif}%{endif}
          # Whoever registers the service chooses the address: nothing but an
          # address gets into this file, and none twice.
          {{- range nomadService "${name}" }}{{ $at := printf "%s:%d" .Address .Port }}
          {{- if and (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "${name} %s" $at))) }}{{ scratch.Set (printf "${name} %s" $at) true }}
          server {{ $at }} {{ $at }}
          {{- end }}{{ end }}%{endfor}
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

  output "address" {
    value       = length(param.upstreams) == 1 ? "127.0.0.1:${values(param.upstreams)[0]}" : null
    description = "Host and port of the service, if there is only one upstream."
  }

  output "addresses" {
    value       = { for name, port in param.upstreams : name => "127.0.0.1:${port}" }
    description = "Host and port of each service, by its name."
  }

  example "two services" {
    description = "Two services at loopback ports. Only instances that answer the health check get requests."
    parameters = {
      upstreams  = { api = 9001, users = 9002 }
      check_path = "/healthz"
    }
  }
}
