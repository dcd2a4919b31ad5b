# A pod in a user namespace of its own, with tasks that start before, with and
# after the main one.
job "userns" {
  group "pod" {
    network {
      mode = "bridge"
    }

    restart {
      attempts = 0
      mode     = "fail"
    }

    task "prepare" {
      driver = "pod"
      user   = "root"

      lifecycle {
        hook = "prestart"
      }

      config {
        userns  = "auto"
        command = "/bin/sh"
        args    = ["-c", "echo prepared > /alloc/data/prepared; chmod 600 /alloc/data/prepared"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }

    task "inside" {
      driver = "pod"
      user   = "root"

      config {
        userns  = "auto"
        share   = ["ipc", "uts", "pid"]
        command = "/bin/sh"
        args    = ["-c", "trap 'exit 0' TERM; cat /alloc/data/prepared /secrets/word; sleep infinity & wait"]
        sysctl  = { "net.core.somaxconn" = "321" }
      }

      template {
        data        = "rendered"
        destination = "secrets/word"
        perms       = "600"
        uid         = 0
        gid         = 0
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }

    task "after" {
      driver = "pod"
      user   = "root"

      lifecycle {
        hook = "poststop"
      }

      config {
        userns  = "auto"
        command = "/bin/sh"
        args    = ["-c", "cat /alloc/data/prepared; id -u"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
