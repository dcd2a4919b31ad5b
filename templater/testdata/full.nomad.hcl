job "j" {
  group "g" {
    network {
      mode = "bridge"
      port "http" {
        to = 80
      }
    }
    constraint {
      attribute = "${attr.kernel.name}"
      value     = "linux"
    }
    volume "data" {
      type   = "host"
      source = "data"
    }
    service {
      name     = "app"
      provider = "nomad"
      port     = "http"
    }
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "app" {
      driver = "pod"
      config {
        command = "app"
        args    = ["%i", "[[ .x ]]", "{{ y }}", "$${LITERAL}", "%%{if}", "a\r\nb", "${NOMAD_PORT_http}"]
        dns     = ["9.9.9.9"]
      }
      env {
        A = "b"
      }
      template {
        destination = "local/mine"
        data        = "{{ range service \"x\" }}[[ z ]]$${}%%{}\n"
      }
      volume_mount {
        volume      = "data"
        destination = "/data"
      }
    }
  }
}
