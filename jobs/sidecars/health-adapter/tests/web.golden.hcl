job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "health" {
        to = 9108
      }
      #sidecar< sha256:…
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "health-adapter" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/sbin/haproxy"
        args    = ["-db", "-f", "/local/haproxy.cfg"]

        ready {
          tcp      = "127.0.0.1:9108"
          interval = "50ms"
          timeout  = "30s"
        }
      }

      template {
        destination = "local/check.sh"
        perms       = "755"
        data        = <<EOT
#!/bin/sh
exec '/usr/bin/redis-cli' 'ping'
EOT
      }

      template {
        destination = "local/state"
        data        = <<EOT
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 check 1 command 127.0.0.1 0 0 1 1 0 6 2 0 6 0 0 0 - 1 - 0 0 - - 0
EOT
      }

      template {
        destination = "local/haproxy.cfg"
        data        = <<EOT
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
  timeout check   5s
  load-server-state-from-file global

# An answer is the result of the last run: requests run nothing.
frontend health
  bind :9108
  monitor-uri /healthz
  monitor fail if { nbsrv(check) lt 1 }
  http-request use-service prometheus-exporter if { path /metrics }
  http-request return status 404 content-type text/plain string "use /healthz or /metrics"

backend check
  option external-check
  external-check path "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  external-check command /local/check.sh
  server command 127.0.0.1:1 check inter 10s fall 2 rise 1
EOT
      }

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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"health-adapter\"],\"ports\":[\"health\"],\"seals\":{\"/port/health\":\"951ffcfff85895f1\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "health-adapter"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
