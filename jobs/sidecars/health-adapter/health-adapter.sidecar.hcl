sidecar "health-adapter" {
  version = "1.0.0"
  summary = "Makes a command or script that checks an application an HTTP endpoint for load balancers and Nomad's checks."

  parameter "check" {
    type        = list(string)
    example     = ["/usr/bin/redis-cli", "ping"]
    description = "Command and arguments. The application is healthy if it exits with 0. It runs in the adapter's task: with the pod's network and alloc directory, and without the application's files."
    validation {
      condition     = length(param.check) > 0 && length(param.check) <= 100
      error_message = "check must be a command with at most 99 arguments."
    }
    validation {
      condition     = length(param.check) == 0 ? true : substr(coalesce(param.check[0], "-"), 0, 1) == "/"
      error_message = "check must begin with an absolute path, such as /usr/bin/redis-cli."
    }
    validation {
      condition     = length([for a in param.check : a if a == null]) == 0
      error_message = "check must not contain null."
    }
  }

  parameter "interval" {
    type        = string
    default     = "10s"
    description = "Time between two runs."
    validation {
      condition     = param.interval != "" && regex_replace(param.interval, "^[1-9][0-9]{0,5}(ms|s|m)$", "") == ""
      error_message = "interval must be a number of ms, s or m, such as 10s."
    }
  }

  parameter "timeout" {
    type        = string
    default     = "5s"
    description = "How long a run may take. A longer one is killed, and counts as failed."
    validation {
      condition     = param.timeout != "" && regex_replace(param.timeout, "^[1-9][0-9]{0,5}(ms|s|m)$", "") == ""
      error_message = "timeout must be a number of ms, s or m, such as 2s."
    }
  }

  parameter "failures" {
    type        = number
    default     = 2
    description = "Failed runs in a row after which a healthy application is unhealthy."
    validation {
      condition     = param.failures >= 1 && param.failures <= 100 && floor(param.failures) == param.failures
      error_message = "failures must be a whole number from 1 to 100."
    }
  }

  parameter "path" {
    type        = string
    default     = "/healthz"
    description = "Path of the endpoint."
    validation {
      condition     = param.path != "" && param.path != "/metrics" && regex_replace(param.path, "^/[A-Za-z0-9/._~-]{0,255}$", "") == ""
      error_message = "path must be a path such as /healthz: letters, digits, and / . _ ~ -; not /metrics."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 9108
    description = "Port of the endpoint inside the pod."
    validation {
      condition     = param.listen_port >= 1024 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with haproxy, a shell, and the command of check. Omitted: the client's own programs."
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
    description = "Share the pod's PID namespace, so that a check can find the application's processes, and topz and metrics include the adapter. Other tasks can then list and may signal it too."
  }

  api {
    port "health" {
      to          = param.listen_port
      description = "200 while the application is healthy, otherwise 503. Plain HTTP, no login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "health-adapter" {
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
      args       = ["-db", "-f", "/local/haproxy.cfg"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        tcp      = "127.0.0.1:${param.listen_port}"
        interval = "50ms"
        timeout  = "30s"
      }
    }

    # Each argument is quoted for the shell.
    template {
      destination = "local/check.sh"
      perms       = "755"
      data        = <<-EOT
        #!/bin/sh
        exec ${join(" ", [for a in param.check : "'${replace(coalesce(a, "-"), "'", "'\\''")}'"])}
      EOT
    }

    # haproxy takes a server for healthy until a check fails. Nothing is known
    # before the first run: this state says that it is down.
    template {
      destination = "local/state"
      data        = <<-EOT
        1
        # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
        3 check 1 command 127.0.0.1 0 0 1 1 0 6 2 0 6 0 0 0 - 1 - 0 0 - - 0
      EOT
    }

    template {
      destination = "local/haproxy.cfg"
      data        = <<-EOT
        global
          log stdout format raw local0 notice
          maxconn 200
          fd-hard-limit 1000
          nbthread 1
          external-check
          insecure-fork-wanted
          server-state-file /local/state

        defaults
          log global
          mode http
          timeout connect 1s
          timeout client  10s
          timeout server  10s
          timeout check   ${param.timeout}
          load-server-state-from-file global

        # An answer is the result of the last run: requests run nothing.
        frontend health
          bind :${param.listen_port}
          monitor-uri ${param.path}
          monitor fail if { nbsrv(check) lt 1 }
          http-request use-service prometheus-exporter if { path /metrics }
          http-request return status 404 content-type text/plain string "use ${param.path} or /metrics"

        backend check
          option external-check
          external-check path "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
          external-check command /local/check.sh
          server command 127.0.0.1:1 check inter ${param.interval} fall ${param.failures} rise 1
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
      cpu    = 50
      memory = 48
    }
  }

  example "redis" {
    description = "An HTTP endpoint for a program that has none."
    parameters = {
      check = ["/usr/bin/redis-cli", "ping"]
    }
  }
}
