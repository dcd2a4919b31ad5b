# An application whose keys are divided among two servers.
job "shards" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "shard-proxy" {
      shards            = { a = "redis-a", b = "redis-b" }
      password_variable = "nomad/jobs/shards"
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
