# An application that serves what a git repository contains.
job "git-sync" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "git-sync" {
      repository        = "http://HOST/site.git"
      destination       = "data/site"
      interval          = 600
      start_timeout     = "20s"
      password_variable = "nomad/jobs/git-sync"
    }

    task "app" {
      driver = "pod"

      config {
        command = "/bin/sleep"
        args    = ["600"]
      }

      kill_signal = "SIGKILL"

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
