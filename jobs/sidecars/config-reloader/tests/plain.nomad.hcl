job "web" {
  group "web" {
    volume "config" {
      type   = "host"
      source = "config"
    }
    task "app" {
      driver = "pod"
      config {
        command = "app"
      }
    }
  }
}
