# A CSI plugin, controller and node in one, as a pod.
job "csi" {
  group "csi" {
    task "plugin" {
      driver = "pod"
      user   = "root"

      csi_plugin {
        id        = "directories"
        type      = "monolith"
        mount_dir = "/csi"
      }

      config {
        command    = "/opt/test/csi"
        args       = ["-volumes", "/alloc/data"]
        privileged = true

        ready {
          file = "/csi/csi.sock"
        }
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
