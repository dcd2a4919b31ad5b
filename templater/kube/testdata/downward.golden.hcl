job "self-aware" {
  # Imported from downward.yaml, document 1: Pod "self-aware".
  type = "service"

  group "self-aware" {
    count = 1

    meta {
      tier = "1"
      zone = "north"
    }

    network {
      mode = "bridge"

      port "p8080" {
        to = 8080
      }
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "app" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image      = "busybox:1.36"
        entrypoint = ["sh", "-c", "cat /etc/podinfo/*; exec sleep 3600"]
        volumes    = ["local/podinfo:/etc/podinfo:ro"]
      }

      env {
        ZONE      = "north"
        NAMESPACE = "${NOMAD_NAMESPACE}"
        POD_IP    = "${NOMAD_ALLOC_IP_p8080}"
        HOST_IP   = "${attr.unique.network.ip-address}"
        POD_UID   = "${NOMAD_ALLOC_ID}"
        MEMORY    = "16"
        CPUS      = "1"
        URL       = "http://${NOMAD_ALLOC_IP_p8080}:8080/north/$(UNDEFINED)"
      }

      template {
        destination = "local/podinfo/labels"
        data        = <<EOT
tier="1"
zone="north"{{ "" -}}
EOT
      }

      template {
        destination = "local/podinfo/node"
        data        = "{{ env \"node.unique.name\" }}"
      }

      template {
        destination = "local/podinfo/memory"
        data        = "16"
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}

