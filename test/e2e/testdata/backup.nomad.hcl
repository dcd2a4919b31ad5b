# An application that writes its state when it ends.
job "backup" {
  group "db" {
    sidecar "backup" {
      paths             = ["data", "not-yet"]
      repository        = "/alloc/repository"
      password_variable = "nomad/jobs/backup"
      interval          = 1
      keep              = { last = 2 }
    }

    task "app" {
      driver = "pod"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo first >/alloc/data/state; trap 'echo last >/alloc/data/state; exit 0' TERM; while :; do sleep 0.1; done"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
