# The admission proxy in front of Nomad, run by Nomad itself: two of it, on different
# clients. Users let NOMAD_ADDR name whatever spreads requests over them.
#
# It has to be there before it can be used: register this job at Nomad's own address.

job "nomad-sidecar" {
  group "serve" {
    count = 2

    constraint {
      distinct_hosts = true
    }

    # Before one is replaced the other must answer.
    update {
      max_parallel = 1
      health_check = "checks"
    }

    network {
      port "api" {
        static = 4747
      }
      port "admin" {}
    }

    service {
      name     = "nomad-sidecar"
      port     = "api"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "10s"
        timeout  = "6s" # it asks Nomad, for 5 s at most
      }
    }

    task "serve" {
      driver = "pod"

      # Longer than -drain, which is 30 s.
      kill_timeout = "45s"

      config {
        command = "/opt/nomad-sidecar/bin/nomad-sidecar"
        args = [
          "serve",
          "-address", "${NOMAD_ADDR_api}",
          "-admin-address", "${NOMAD_ADDR_admin}",
          "-nomad-addr", "http://${attr.unique.network.ip-address}:4646",
          "-policy", "/local/policy",
        ]
      }

      # Without -catalog the built-in sidecars are used. A catalog and policy of your own
      # come by an artifact block, certificates by templates; serve notices when a
      # template has changed, so that no restart is needed.
      template {
        destination = "local/policy/company.policy.hcl"
        change_mode = "noop"
        data        = <<-EOT
          rule "every-job-has-a-team" {
            validation {
              condition     = can(job.meta.team)
              error_message = "Job ${job.id} has no team. Add meta { team = \"…\" } to it."
            }
          }
        EOT
      }

      resources {
        cpu    = 500
        memory = 256 # bodies of requests take up to 64 MiB of it, see -max-buffer
      }
    }
  }
}
