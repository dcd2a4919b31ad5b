variable "port" {
  default = 9443
}

job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    sidecar "tls-proxy" {
      version     = "~> 1.0"
      app_port    = 8080
      listen_port = var.port
    }
    task "app" {
      driver = "pod"
    }
  }
}
