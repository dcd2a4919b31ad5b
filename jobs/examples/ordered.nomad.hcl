# Three tasks that start one after the other, each when the one before is ready,
# and stop the other way round: config writes a file, proxy needs it, and the
# application needs the proxy. They pass the file on in memory.

job "ordered" {
  group "ordered" {
    task "config" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/bin/sh"
        args    = ["-c", "sleep 1; echo listen=9000 > /config/proxy.conf; exec sleep infinity"]

        # The start returns when the file is there.
        ready {
          file = "/config/proxy.conf"
        }

        pod_volume "config" {
          target = "/config"
          size   = "1m"
        }
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    task "proxy" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOT
          . /config/proxy.conf
          sleep 1
          exec /opt/nomad-sidecar/bin/webapp -listen 127.0.0.1:$listen
        EOT
        ]

        # Starts when config is ready, and at the stop ends before it does.
        after = ["config"]

        ready {
          http = "http://127.0.0.1:9000/"
        }

        pre_stop {
          command = "/bin/echo"
          args    = ["draining"]
        }

        pod_volume "config" {
          target   = "/config"
          readonly = true
        }
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }

    # Nomad starts it when its prestart sidecars run, which is when their
    # starts have returned.
    task "app" {
      driver = "pod"

      config {
        command = "/bin/sleep"
        args    = ["infinity"]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }

    network {
      mode = "bridge"
    }
  }
}
