# An app that restarts with its proxy. Both write down their starts and stops, and the proxy
# fails when it finds /alloc/crash.
job "fate" {
  group "fate" {
    restart {
      attempts = 10
      interval = "30m"
      delay    = "0s"
      mode     = "fail"
    }

    task "app" {
      driver       = "pod"
      kill_timeout = "25s"

      config {
        command      = "/bin/sh"
        args         = ["-c", "note() { echo $1 app >> /alloc/data/order; }; trap 'note stop; exit 0' TERM; note start; while :; do sleep 0.05; done"]
        kill_timeout = "25s"
        restart_with = ["proxy"]
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }

    task "proxy" {
      driver       = "pod"
      kill_timeout = "25s"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/bin/sh"
        args    = ["-c", "note() { echo $1 proxy >> /alloc/data/order; }; trap 'note stop; exit 0' TERM; note start; touch /tmp/up; until rm /alloc/crash 2>/dev/null; do sleep 0.05; done; exit 3"]

        ready { file = "/tmp/up" }
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
