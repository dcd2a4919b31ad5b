job "web" {
  group "web" {
    task "app" {
      driver = "pod"
      config {
        pod_volume "vault" {
          target   = "/vault"
          readonly = true
        }
      }
    }
  }
}
