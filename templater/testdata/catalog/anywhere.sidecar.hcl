# Fits into any job: it asks nothing of networks, drivers or services.
sidecar "anywhere" {
  version = "1.0.0"
  api {
    env "A" {
      value  = "-added \"<é>\" %i"
      append = true
    }
    env "ANYWHERE_SIDECAR" {
      value = "${group.name}: ${join(" ", app.tasks)}"
    }
  }
  task "anywhere" {
    driver = "docker"
    lifecycle {
      hook    = "prestart"
      sidecar = true
    }
    config {
      image = "anywhere:1"
    }
    resources {
      cpu    = 20
      memory = 16
    }
  }
  volume "anywhere" {
    type   = "host"
    source = "anywhere"
  }
  app {
    template {
      destination = "local/anywhere"
      data        = "{{ env \"NOMAD_ALLOC_ID\" }}\n"
    }
    volume_mount {
      volume      = "anywhere"
      destination = "/anywhere"
    }
  }
}
