job "web" {
  group "web" {
    #sidecar|    sidecar "log-shipper" {
    #sidecar|      sink           = "file:///alloc/data/all.log"
    #sidecar|      file_max_bytes = 10000000
    #sidecar|    }
    task "app" {
      driver = "pod"
      config {
        command = "app"
      }
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "log-shipper" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/opt/nomad-sidecar/bin/log-shipper"
        args = [
          "-sink",
          "file:///alloc/data/all.log",
          "-format",
          "json",
          "-max-line",
          "8192",
          "-batch-lines",
          "1000",
          "-batch-bytes",
          "1048576",
          "-batch-wait",
          "1s",
          "-facility",
          "user",
          "-enterprise",
          "0",
          "-file-max-bytes",
          "10000000",
          "-file-keep",
          "5",
          "-stream",
          "stdout",
          "-stream",
          "stderr",
        ]
      }
      kill_timeout = "15s"

      restart {
        attempts = 5
        interval = "1m"
        delay    = "2s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 48
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"log-shipper\"]}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "log-shipper"
        "sidecar.origin"  = "block"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
