job "web" {
  group "web" {
    volume "logs" {
      type   = "host"
      source = "logs"
    }
    task "app" {
      driver = "pod"
      config {
        command = "app"
      }
    }
  }
}
