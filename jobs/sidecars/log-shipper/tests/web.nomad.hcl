job "web" {
  group "web" {
    sidecar "log-shipper" {
      sink           = "file:///alloc/data/all.log"
      file_max_bytes = 10000000
    }
    task "app" {
      driver = "pod"
      config {
        command = "app"
      }
    }
  }
}
