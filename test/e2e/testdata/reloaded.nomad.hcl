# An nginx whose configuration somebody else keeps, in whichever directory it
# may write to.
job "NAME" {
  group "reloaded" {
    sidecar "config-reloader" {
      app_task    = "app"
      source      = "SOURCE"
      destination = "config/nginx.conf"
      interval    = "1h"
      check       = CHECK
      user        = "RELOADER"
    }

    task "app" {
      driver = "pod"
      user   = "APP"

      config {
        command = "/usr/sbin/nginx"
        args    = ["-e", "stderr", "-c", "/alloc/config/nginx.conf"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
