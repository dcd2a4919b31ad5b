job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "split-admin" {
        to = 9105
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "split" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/sbin/haproxy"
        args    = ["-W", "-db", "-p", "/local/haproxy.pid", "-f", "/local/haproxy.cfg"]

        ready {
          http     = "http://127.0.0.1:9105/healthz"
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
  option httplog
  option dontlog-normal
  option redispatch 1
  retries 2
  maxconn 500
  timeout connect 2s
  timeout queue   2s
  timeout client  1m
  timeout server  1m
  timeout tunnel  1h
  timeout check   2s
  default-server check inter 2s fastinter 500ms fall 2 rise 1 init-addr last,libc,none

frontend split-admin
  maxconn 50
  bind :9105
  timeout client 10s
  http-request return status 200 content-type text/plain string ok if { path /healthz }
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 404 content-type text/plain string "use /metrics or /healthz"

frontend split
  bind 127.0.0.1:9010
  # The header decides, then the cookie, then a random number.
  http-request set-var(txn.version) req.hdr(X-Version,-1)
  http-request unset-var(txn.version) unless { var(txn.version) -m str canary old stable }
  http-request set-var(txn.pinned) bool(true) if { var(txn.version) -m found }
  http-request set-var(txn.cookie) req.cook(version)
  http-request set-var(txn.version) var(txn.cookie) if !{ var(txn.version) -m found } { var(txn.cookie) -m str canary old stable }
  http-request set-var(txn.kept) bool(true) if { var(txn.version) -m found }
  http-request set-var(txn.random) rand(100)
  http-request set-var(txn.version) str(canary) if !{ var(txn.version) -m found } { var(txn.random) -m int lt 25 }
  http-request set-var(txn.version) str(old) if !{ var(txn.version) -m found } { var(txn.random) -m int lt 25 }
  http-request set-var(txn.version) str(stable) if !{ var(txn.version) -m found } { var(txn.random) -m int lt 100 }
  http-request set-var(txn.fell) bool(true) if { var(txn.version) -m str canary } { nbsrv(version.canary) lt 1 } !{ var(txn.pinned) -m found }
  http-request set-var(txn.fell) bool(true) if { var(txn.version) -m str old } { nbsrv(version.old) lt 1 } !{ var(txn.pinned) -m found }
  http-request set-var(txn.fell) bool(true) if { var(txn.version) -m str stable } { nbsrv(version.stable) lt 1 } !{ var(txn.pinned) -m found }
  http-request set-var(txn.version) str(stable) if { var(txn.fell) -m found }
  http-response set-header X-Version %[var(txn.version)]
  # A client that fell back keeps its version for when that is healthy again.
  http-response add-header Set-Cookie "version=%[var(txn.version)]; Path=/; HttpOnly; SameSite=Lax" unless { var(txn.kept) -m found } or { var(txn.fell) -m found }
  use_backend version.%[var(txn.version)]

backend version.canary
  balance roundrobin
  option httpchk GET /healthz
  http-check expect status 200-399
  # Whoever registers the service chooses the address: nothing but an
  # address gets into this file, and none twice.
  {{- range nomadService "api-canary" }}{{ $at := printf "%s:%d" .Address .Port }}
  {{- if and (.Tags | contains "next") (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "canary %s" $at))) }}{{ scratch.Set (printf "canary %s" $at) true }}
  server {{ $at }} {{ $at }}
  {{- end }}{{ end }}

backend version.old
  balance roundrobin
  option httpchk GET /healthz
  http-check expect status 200-399
  # Whoever registers the service chooses the address: nothing but an
  # address gets into this file, and none twice.
  {{- range nomadService "api-old" }}{{ $at := printf "%s:%d" .Address .Port }}
  {{- if and (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "old %s" $at))) }}{{ scratch.Set (printf "old %s" $at) true }}
  server {{ $at }} {{ $at }}
  {{- end }}{{ end }}

backend version.stable
  balance roundrobin
  option httpchk GET /healthz
  http-check expect status 200-399
  # Whoever registers the service chooses the address: nothing but an
  # address gets into this file, and none twice.
  {{- range nomadService "api" }}{{ $at := printf "%s:%d" .Address .Port }}
  {{- if and (.Address | regexMatch "^([0-9]{1,3}[.]){3}[0-9]{1,3}$") (not (scratch.Key (printf "stable %s" $at))) }}{{ scratch.Set (printf "stable %s" $at) true }}
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
        "sidecar.added"   = "{\"tasks\":[\"split\"],\"ports\":[\"split-admin\"],\"seals\":{\"/port/split-admin\":\"f9c32f166ab1d18e\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "split"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
