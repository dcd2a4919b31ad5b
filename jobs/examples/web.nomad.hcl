# An application that only speaks plain HTTP on the loopback interface, and two
# sidecars around it: one gives it TLS, the other shows its processes.
#
#   nomad-sidecar inject web.nomad.hcl | nomad job run -

job "web" {
  group "web" {
    # One network namespace for all tasks of the group: this is what lets the
    # proxy can reach the application at 127.0.0.1; no other host can.
    network {
      mode = "bridge"
    }

    # Answers HTTPS on a dynamic host port and forwards to the port below. The
    # certificate is self-signed, as this is an example: outside of one, leave
    # that out and have cert.pem and key.pem written to alloc/tls.
    sidecar "tls-proxy" {
      version     = "~> 1.0"
      app_port    = 8080
      self_signed = true
      share_pid   = true # to be seen by topz
    }

    # The processes of the whole pod, as a page and as JSON. It has the
    # application's tasks share their PID namespace; they need not say so.
    sidecar "topz" {}

    # The application itself. It knows nothing of all this.
    task "app" {
      driver = "pod"

      config {
        command = "/opt/nomad-sidecar/bin/webapp"
        args    = ["-listen", "127.0.0.1:8080"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
