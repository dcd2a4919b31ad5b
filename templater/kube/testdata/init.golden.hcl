job "prepared" {
  # Imported from init.yaml, document 1: Deployment "prepared".
  type = "service"

  group "prepared" {
    count = 1

    meta {
      app = "prepared"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "fetch" {
      driver       = "pod"
      kill_timeout = "4s"

      lifecycle {
        hook = "prestart"
      }

      config {
        image          = "busybox:1.36"
        entrypoint     = ["sh", "-c", "echo content > /work/page"]
        cpu_hard_limit = true
        volumes        = ["../alloc/data:/work"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    task "server" {
      driver       = "pod"
      kill_timeout = "4s"

      config {
        image = "busybox:1.36"
        entrypoint = [
          "sh",
          "-c",
          <<EOT
echo serving $(cat /srv/page)
exec sleep 3600
EOT
          ,
        ]

        cpu_hard_limit = true
        volumes        = ["../alloc/data:/srv"]

        pre_stop {
          command = "sh"
          args    = ["-c", "echo bye > /srv/stopped"]
          timeout = "2s"
        }
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

