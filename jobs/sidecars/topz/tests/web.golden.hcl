job "web" {
  group "web" {
    network {
      mode = "bridge"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      port "topz" {
        to = 8099
      }
      #sidecar< sha256:…
    }
    #sidecar|    sidecar "topz" {}
    task "app" {
      driver = "pod"
      config {
        command = "app"
        #sidecar> added by nomad-sidecar, up to #sidecar<
        share = ["ipc", "uts", "pid"]
        #sidecar< sha256:…
      }
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "topz" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/opt/nomad-sidecar/bin/topz"
        args    = ["-listen", ":8099"]
        share   = ["ipc", "uts", "pid"]
      }

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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"topz\"],\"ports\":[\"topz\"],\"config\":{\"app\":{\"share\":null}},\"seals\":{\"/port/topz\":\"d88388bbf9968181\",\"app/config/share\":\"b864a4f24f7bbf0d\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "topz"
        "sidecar.origin"  = "block"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
