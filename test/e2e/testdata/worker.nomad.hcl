# Prints the payload that it is dispatched with.
job "worker" {
  type = "batch"

  parameterized {
    meta_required = ["word"]
  }

  group "worker" {
    task "worker" {
      driver = "pod"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo said $NOMAD_META_word"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
