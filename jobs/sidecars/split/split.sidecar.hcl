sidecar "split" {
  version = "1.0.0"
  summary = "Divides the application's requests among versions of a service by weight, and pins them by header or cookie."

  parameter "versions" {
    type        = map(object({ service = string, weight = number, tag = optional(string) }))
    example     = { stable = { service = "api", weight = 90 }, canary = { service = "api-canary", weight = 10 } }
    description = "Nomad service of each version, and its share of the requests. With a tag, only the instances that have it. Weight 0: only pinned requests."
    validation {
      condition     = length(param.versions) >= 2 && length(param.versions) <= 20
      error_message = "versions must name 2 to 20 versions of a service."
    }
    validation {
      condition     = length([for name, v in param.versions : name if name == "" || regex_replace(name, "^[a-z0-9][a-z0-9-]{0,30}$", "") != ""]) == 0
      error_message = "versions must have names of lower case letters, digits and dashes, at most 31."
    }
    validation {
      condition     = length([for name, v in param.versions : name if v.service == null ? true : v.service == "" || regex_replace(v.service, "^[A-Za-z0-9][A-Za-z0-9-]{0,62}$", "") != ""]) == 0
      error_message = "versions must have names of Nomad services as service: letters, digits and dashes, at most 63."
    }
    validation {
      condition     = length([for name, v in param.versions : name if v.tag == null ? false : v.tag == "" || regex_replace(v.tag, "^[A-Za-z0-9._=-]{1,63}$", "") != ""]) == 0
      error_message = "versions must have tags of letters, digits, and . _ = -, at most 63."
    }
    validation {
      condition     = length([for name, v in param.versions : name if v.weight == null ? true : v.weight < 0 || v.weight > 100 || floor(v.weight) != v.weight]) == 0
      error_message = "versions must have whole numbers from 0 to 100 as weight."
    }
    validation {
      condition     = length([for name, v in param.versions : name if v.weight == null ? false : v.weight > 0]) > 0
      error_message = "versions must have at least one weight above 0."
    }
  }

  parameter "header" {
    type        = string
    default     = "X-Version"
    description = "Request header that pins a request to the version that it names. Answers have it too, with the version that answered."
    validation {
      condition     = param.header != "" && regex_replace(param.header, "^[A-Za-z][A-Za-z0-9-]{0,62}$", "") == ""
      error_message = "header must be the name of a header, such as X-Version."
    }
  }

  parameter "cookie" {
    type        = string
    default     = null
    example     = "version"
    description = "Cookie that keeps a client at the version that it got first. Omitted: each request is divided anew."
    validation {
      condition     = param.cookie == null ? true : param.cookie != "" && regex_replace(param.cookie, "^[A-Za-z][A-Za-z0-9_-]{0,62}$", "") == ""
      error_message = "cookie must be the name of a cookie: letters, digits, _ and -."
    }
  }

  parameter "fallback" {
    type        = string
    default     = null
    example     = "stable"
    description = "Version that gets the requests of a version without healthy instances. Requests that a header pins never fall back. Omitted: they get 503."
    validation {
      condition     = param.fallback == null ? true : contains(keys(param.versions), param.fallback)
      error_message = "fallback must be one of versions."
    }
  }

  parameter "check_path" {
    type        = string
    default     = null
    example     = "/healthz"
    description = "Path that a healthy instance answers with a status from 200 to 399. Omitted: an instance is healthy if it accepts connections."
    validation {
      condition     = param.check_path == null ? true : param.check_path != "" && regex_replace(param.check_path, "^/[A-Za-z0-9/._~-]{0,255}$", "") == ""
      error_message = "check_path must be a path such as /healthz: letters, digits, and / . _ ~ -."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 9010
    description = "Port it listens on inside the pod."
    validation {
      condition     = param.listen_port >= 1024 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "expose" {
    type        = bool
    default     = false
    description = "Listen on all addresses of the pod, as a port of the group, instead of on loopback for the application only."
  }

  parameter "admin_port" {
    type        = number
    default     = 9105
    description = "Port of health and metrics inside the pod."
    validation {
      condition     = param.admin_port >= 1024 && param.admin_port <= 65535 && floor(param.admin_port) == param.admin_port
      error_message = "admin_port must be a whole number from 1024 to 65535."
    }
    validation {
      condition     = param.admin_port != param.listen_port
      error_message = "admin_port must differ from listen_port: both are ports of the same pod."
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
    description = "How long a client or an instance may be silent."
    validation {
      condition     = param.timeout != "" && regex_replace(param.timeout, "^[1-9][0-9]{0,5}(ms|s|m|h)$", "") == ""
      error_message = "timeout must be a number of ms, s, m or h, such as 30s."
    }
  }

  parameter "max_connections" {
    type        = number
    default     = 500
    description = "Open connections of clients; more wait."
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

  locals {
    names = keys(param.versions)

    # There is no sum(): the lengths of ranges add up.
    total = length(flatten([for v in values(param.versions) : range(v.weight)]))

    # A random number below total belongs to the first version with a sum above it.
    sums = { for i, name in keys(param.versions) : name => length(flatten([for v in slice(values(param.versions), 0, i + 1) : range(v.weight)])) }
  }

  api {
    port "split" {
      to          = param.listen_port
      enabled     = param.expose
      description = "The divided service, with expose. Plain HTTP/1.1, WebSockets."
    }
    port "split-admin" {
      to          = param.admin_port
      description = "Metrics for Prometheus at /metrics, health at /healthz. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "split" {
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
        http     = "http://127.0.0.1:${param.admin_port}/healthz"
        interval = "50ms"
        timeout  = "30s"
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
          mode http
          option httplog%{if !param.access_log}
          option dontlog-normal%{endif}
          option redispatch 1
          retries 2
          maxconn ${param.max_connections}
          timeout connect ${param.connect_timeout}
          timeout queue   ${param.connect_timeout}
          timeout client  ${param.timeout}
          timeout server  ${param.timeout}
          timeout tunnel  1h
          timeout check   2s
          default-server check inter 2s fastinter 500ms fall 2 rise 1 init-addr last,libc,none

        frontend split-admin
          maxconn 50
          bind :${param.admin_port}
          timeout client 10s
          http-request return status 200 content-type text/plain string ok if { path /healthz }
          http-request use-service prometheus-exporter if { path /metrics }
          http-request return status 404 content-type text/plain string "use /metrics or /healthz"

        frontend split
          bind ${param.expose ? "" : "127.0.0.1"}:${param.listen_port}
          # The header decides, then the cookie, then a random number.
          http-request set-var(txn.version) req.hdr(${param.header},-1)
          http-request unset-var(txn.version) unless { var(txn.version) -m str ${join(" ", local.names)} }
          http-request set-var(txn.pinned) bool(true) if { var(txn.version) -m found }%{if param.cookie != null}
          http-request set-var(txn.cookie) req.cook(${coalesce(param.cookie, "-")})
          http-request set-var(txn.version) var(txn.cookie) if !{ var(txn.version) -m found } { var(txn.cookie) -m str ${join(" ", local.names)} }
          http-request set-var(txn.kept) bool(true) if { var(txn.version) -m found }%{endif}
          http-request set-var(txn.random) rand(${local.total})%{for name, sum in local.sums}
          http-request set-var(txn.version) str(${name}) if !{ var(txn.version) -m found } { var(txn.random) -m int lt ${sum} }%{endfor}%{if param.fallback != null}%{for name in local.names}
          http-request set-var(txn.fell) bool(true) if { var(txn.version) -m str ${name} } { nbsrv(version.${name}) lt 1 } !{ var(txn.pinned) -m found }%{endfor}
          http-request set-var(txn.version) str(${coalesce(param.fallback, "-")}) if { var(txn.fell) -m found }%{endif}
          http-response set-header ${param.header} %[var(txn.version)]%{if param.cookie != null}
          # A client that fell back keeps its version for when that is healthy again.
          http-response add-header Set-Cookie "${coalesce(param.cookie, "-")}=%[var(txn.version)]; Path=/; HttpOnly; SameSite=Lax" unless { var(txn.kept) -m found } or { var(txn.fell) -m found }%{endif}
          use_backend version.%[var(txn.version)]%{for name, v in param.versions}

        backend version.${name}
          balance roundrobin%{if param.check_path != null}
          option httpchk GET ${coalesce(param.check_path, "/")}
          http-check expect status 200-399%{endif}
          # Whoever registers the service chooses the address: nothing but an
          # address gets into this file, and none twice.
          {{- range nomadService "${v.service}" }}{{ $at := printf "%s:%d" .Address .Port }}
          {{- if and %{if v.tag != null}(.Tags | contains "${coalesce(v.tag, "-")}") %{endif}(.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "${name} %s" $at))) }}{{ scratch.Set (printf "${name} %s" $at) true }}
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
    value       = "127.0.0.1:${param.listen_port}"
    description = "Host and port for the application's requests."
  }

  example "a canary" {
    description = "One request in ten tests the new version. A cookie keeps users on theirs."
    parameters = {
      versions = {
        stable = { service = "api", weight = 90 }
        canary = { service = "api-canary", weight = 10 }
      }
      cookie   = "version"
      fallback = "stable"
    }
  }
}
