job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    sidecar "topz" {}
    task "app" {
      driver = "pod"
      config {
        command = "app"
      }
    }
  }
}
