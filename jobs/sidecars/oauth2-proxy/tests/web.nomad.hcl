job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    task "app" {
      driver = "pod"
    }
  }
}
