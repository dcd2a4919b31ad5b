# An application with clients that are identified by a header and limited to a
# burst of five, and one more in five seconds.
job "rate-limit" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "rate-limit" {
      app_port   = 8080
      rate       = 0.2
      burst      = 5
      key_header = "X-Api-Key"
    }

    task "app" {
      driver = "pod"

      config {
        command = "/opt/nomad-sidecar/bin/webapp"
        args    = ["-listen", "127.0.0.1:8080"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
