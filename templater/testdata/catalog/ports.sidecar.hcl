sidecar "ports" {
  version = "2.0.0"
  parameter "image" {
    type    = string
    default = null
  }
  api {
    port "one" {
      to = 9001
    }
    port "two-dashes" {}
    env "ONE" {
      value = 9001
    }
  }
  requires {
    network = ["bridge"]
  }
  task "ports" {
    driver = "pod"
    lifecycle {
      hook    = "poststart"
      sidecar = true
    }
    config {
      image   = param.image
      command = "ports"
    }
    logs {
      max_files     = 2
      max_file_size = 5
    }
    restart {
      attempts = 1
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }
    resources {
      cpu    = 20
      memory = 16
    }
  }
  task "ports-init" {
    driver = "pod"
    lifecycle {
      hook = "prestart"
    }
  }
  service {
    name     = "ports"
    provider = "nomad"
    port     = "one"
  }
  volume "cache" {
    type   = "host"
    source = "cache"
  }
  app {
    volume_mount {
      volume      = "cache"
      destination = "/cache"
      read_only   = true
    }
  }
}
