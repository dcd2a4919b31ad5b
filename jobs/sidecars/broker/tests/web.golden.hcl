job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "broker-admin" {
        to = 9104
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "broker" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/sbin/haproxy"
        args    = ["-W", "-db", "-p", "/local/haproxy.pid", "-f", "/local/haproxy.cfg"]

        ready {
          http     = "http://127.0.0.1:9104/healthz"
          interval = "50ms"
          timeout  = "30s"
        }
      }
      kill_signal = "SIGUSR1"

      template {
        destination = "local/haproxy.cfg"
        change_mode = "script"

        change_script {
          command       = "/bin/sh"
          args          = ["-c", "kill -USR2 \"$(cat /local/haproxy.pid)\""]
          timeout       = "10s"
          fail_on_error = false
        }

        wait {
          min = "1s"
          max = "5s"
        }
        data = <<EOT
global
  log stdout format raw local0 notice
  # Without limits haproxy reserves memory for as many connections as
  # the descriptors that it may open.
  maxconn 550
  fd-hard-limit 2500
  # A reload leaves the old process to its open connections for so long.
  hard-stop-after 1m
  mworker-max-reloads 5
  nbthread 1

defaults
  log global
  mode http
  option redispatch 1
  retries 3
  maxconn 500
  timeout connect 2s
  timeout queue   2s
  timeout client  1m
  timeout server  1m
  timeout tunnel  1h
  timeout check   2s
  default-server check inter 2s fastinter 500ms fall 2 rise 1 init-addr last,libc,none

# monitor-uri is not counted, logged or limited.
frontend broker-admin
  mode http
  maxconn 50
  bind :9104
  timeout client 10s
  monitor-uri /readyz
  monitor fail if { nbsrv(service.api) lt 1 }
  monitor fail if { nbsrv(service.users) lt 1 }
  http-request return status 200 content-type text/plain string ok if { path /healthz }
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 404 content-type text/plain string "use /metrics, /healthz or /readyz"

listen service.api
  bind 127.0.0.1:9001
  balance roundrobin
  option httplog
  option dontlog-normal
  retry-on conn-failure empty-response 503
  # A request that an instance may have received is repeated only if
  # repeating it has the same effect.
  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE }
  option httpchk GET /healthz
  http-check expect status 200-399
  # Whoever registers the service chooses the address: nothing but an
  # address gets into this file, and none twice.
  {{- range nomadService "api" }}{{ $at := printf "%s:%d" .Address .Port }}
  {{- if and (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "api %s" $at))) }}{{ scratch.Set (printf "api %s" $at) true }}
  server {{ $at }} {{ $at }}
  {{- end }}{{ end }}

listen service.users
  bind 127.0.0.1:9002
  balance roundrobin
  option httplog
  option dontlog-normal
  retry-on conn-failure empty-response 503
  # A request that an instance may have received is repeated only if
  # repeating it has the same effect.
  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE }
  option httpchk GET /healthz
  http-check expect status 200-399
  # Whoever registers the service chooses the address: nothing but an
  # address gets into this file, and none twice.
  {{- range nomadService "users" }}{{ $at := printf "%s:%d" .Address .Port }}
  {{- if and (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "users %s" $at))) }}{{ scratch.Set (printf "users %s" $at) true }}
  server {{ $at }} {{ $at }}
  {{- end }}{{ end }}
EOT
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 100
        memory = 64
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"broker\"],\"ports\":[\"broker-admin\"],\"seals\":{\"/port/broker-admin\":\"8505df5a201ae041\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "broker"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
