sidecar "viewer" {
  version = "1.0.0"
  requires {
    share = ["pid"]
  }
  task "viewer" {
    driver = "pod"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    config {
      share = ["ipc", "uts", "pid"]
    }
  }
}
