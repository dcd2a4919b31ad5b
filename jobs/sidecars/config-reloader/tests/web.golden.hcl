job "web" {
  group "web" {
    #sidecar|    sidecar "config-reloader" {
    #sidecar|      app_task    = "app"
    #sidecar|      source      = "https://config.example.com/web.conf"
    #sidecar|      destination = "config/web.conf"
    #sidecar|      check       = ["/usr/sbin/nginx", "-t", "-c", "{}"]
    #sidecar|    }
    task "app" {
      driver = "pod"
      config {
        command = "nginx"
        args    = ["-c", "/alloc/config/web.conf"]
        #sidecar> added by nomad-sidecar, up to #sidecar<
        share = ["ipc", "uts", "pid"]
        #sidecar< sha256:…
      }
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "config-reloader" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/opt/nomad-sidecar/bin/config-reloader"
        args = [
          "-task",
          "app",
          "-destination",
          "config/web.conf",
          "-mode",
          "0644",
          "-interval",
          "10s",
          "-signal",
          "SIGHUP",
          "-source",
          "https://config.example.com/web.conf",
          "-check",
          "/usr/sbin/nginx",
          "-check",
          "-t",
          "-check",
          "-c",
          "-check",
          "{}",
        ]
        share = ["ipc", "uts", "pid"]

        ready {
          file    = "/alloc/config/web.conf"
          timeout = "1m"
        }
      }

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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"config-reloader\"],\"config\":{\"app\":{\"share\":null}},\"seals\":{\"app/config/share\":\"b864a4f24f7bbf0d\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "config-reloader"
        "sidecar.origin"  = "block"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
