job "web" {
  group "web" {
    sidecar "config-reloader" {
      app_task    = "app"
      source      = "https://config.example.com/web.conf"
      destination = "config/web.conf"
      check       = ["/usr/sbin/nginx", "-t", "-c", "{}"]
    }
    task "app" {
      driver = "pod"
      config {
        command = "nginx"
        args    = ["-c", "/alloc/config/web.conf"]
      }
    }
  }
}
