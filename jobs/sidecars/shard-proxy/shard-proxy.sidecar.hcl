sidecar "shard-proxy" {
  version = "1.0.0"
  summary = "Makes several redis or memcached servers one: each key belongs to one of them, by consistent hashing."

  parameter "shards" {
    type        = map(string)
    example     = { a = "redis-a", b = "redis-b" }
    description = "Server of each shard: the name of a Nomad service, of which the first instance is used, or host:port. Keys depend on the shards' names, so a server may move."
    validation {
      condition     = length(param.shards) >= 1 && length(param.shards) <= 200
      error_message = "shards must name 1 to 200 servers."
    }
    validation {
      condition     = length([for name, at in param.shards : name if name == "" || regex_replace(name, "^[a-z0-9][a-z0-9-]{0,30}$", "") != ""]) == 0
      error_message = "shards must have names of lower case letters, digits and dashes, at most 31."
    }
    validation {
      condition     = length([for name, at in param.shards : name if at == null ? true : at == "" || regex_replace(at, "^([A-Za-z0-9][A-Za-z0-9-]{0,62}|[A-Za-z0-9][A-Za-z0-9.-]{0,252}:[1-9][0-9]{0,4})$", "") != ""]) == 0
      error_message = "shards must be names of Nomad services, or host:port."
    }
  }

  parameter "protocol" {
    type        = string
    default     = "redis"
    description = "redis or memcached."
    validation {
      condition     = contains(["redis", "memcached"], param.protocol)
      error_message = "protocol must be redis or memcached."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 9020
    description = "Loopback port the application connects to."
    validation {
      condition     = param.listen_port >= 1024 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number from 1024 to 65535."
    }
    validation {
      condition     = param.listen_port != param.stats_port
      error_message = "listen_port must differ from stats_port: both are ports of the same pod."
    }
  }

  parameter "stats_port" {
    type        = number
    default     = 9106
    description = "Port of the statistics inside the pod."
    validation {
      condition     = param.stats_port >= 1024 && param.stats_port <= 65535 && floor(param.stats_port) == param.stats_port
      error_message = "stats_port must be a whole number from 1024 to 65535."
    }
  }

  parameter "distribution" {
    type        = string
    default     = "ketama"
    description = "ketama: a new shard takes over few keys. modula: it moves most of them. random: for replicas that all have every key."
    validation {
      condition     = contains(["ketama", "modula", "random"], param.distribution)
      error_message = "distribution must be ketama, modula or random."
    }
  }

  parameter "hash_tag" {
    type        = bool
    default     = true
    description = "Hash only the part of a key in braces, if it has one: {user1}.name and {user1}.mail are on one shard."
  }

  parameter "eject" {
    type        = bool
    default     = false
    description = "For caches: leave out a shard that failed 3 times, for 30 seconds. Others take over its keys, without their values."
  }

  parameter "timeout_ms" {
    type        = number
    default     = 1000
    description = "How long to wait for a connection or an answer, in milliseconds."
    validation {
      condition     = param.timeout_ms >= 1 && param.timeout_ms <= 600000 && floor(param.timeout_ms) == param.timeout_ms
      error_message = "timeout_ms must be a whole number from 1 to 600000."
    }
  }

  parameter "password_variable" {
    type        = string
    default     = null
    example     = "nomad/jobs/shop"
    description = "Path of the Nomad variable whose item password is the password of every redis server, and of the application's connections. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.password_variable == null ? true : param.protocol == "redis" && param.password_variable != "" && regex_replace(param.password_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "password_variable must be the path of a Nomad variable, such as nomad/jobs/shop, and needs protocol = \"redis\"."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with nutcracker. Omitted: the client's own programs."
  }

  parameter "command" {
    type        = string
    default     = "/usr/sbin/nutcracker"
    description = "Absolute path of nutcracker, in the image or on the client."
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
    port "shard-proxy-stats" {
      to          = param.stats_port
      description = "Statistics of each shard as JSON. No login."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "shard-proxy" {
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
      args       = ["-c", "/secrets/nutcracker.yml", "-o", "/dev/stderr", "-a", "0.0.0.0", "-s", "${param.stats_port}"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        tcp      = "127.0.0.1:${param.listen_port}"
        interval = "50ms"
        timeout  = "30s"
      }
    }

    # nutcracker cannot reload. Nomad restarts it when a shard moves.
    template {
      destination = "secrets/nutcracker.yml"
      perms       = "644"

      # A change of many instances is one restart.
      wait {
        min = "1s"
        max = "5s"
      }

      data = <<-EOT
        shards:
          listen: 127.0.0.1:${param.listen_port}
          redis: ${param.protocol == "redis"}
          # fnv1a_64, the default, divides short similar keys unevenly:
          # key1 to key1000 as 110, 520 and 370 among three shards.
          hash: murmur
          distribution: ${param.distribution}%{if param.hash_tag}
          hash_tag: "{}"%{endif}
          timeout: ${param.timeout_ms}
          backlog: 1024
          preconnect: false
          auto_eject_hosts: ${param.eject}
          server_failure_limit: 3
          server_retry_timeout: 30000%{if param.password_variable != null}
          redis_auth: {{ with nomadVar "${coalesce(param.password_variable, "-")}" }}{{ .password.Value | toJSON }}{{ end }}%{endif}
          servers:%{for name, at in param.shards}%{if length(split(":", at)) == 2}
          - ${at}:1 ${name}%{else}
          # Whoever registers the service chooses the address. A shard without
          # an instance gets one that refuses connections.
          {{- $at := "127.0.0.1:1" }}
          {{- range nomadService "${at}" }}{{ if and (eq $at "127.0.0.1:1") (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") }}{{ $at = printf "%s:%d" .Address .Port }}{{ end }}{{ end }}
          - {{ $at }}:1 ${name}%{endif}%{endfor}
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
      memory = 32
    }
  }

  output "address" {
    value       = "127.0.0.1:${param.listen_port}"
    description = "Host and port for the application's commands."
  }

  example "two redis" {
    description = "Keys are divided between the instances of two services."
    parameters = {
      shards = { a = "redis-a", b = "redis-b" }
    }
  }
}
