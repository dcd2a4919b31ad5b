job "api" {
  # Imported from probes.yaml, document 2: Deployment "api".
  type = "service"

  group "api" {
    count = 4

    meta {
      app = "api"
    }

    network {
      mode = "bridge"

      port "p8443" {
        to = 8443
      }

      port "p9000" {
        to = 9000
      }
    }

    update {
      max_parallel      = 2
      canary            = 2
      auto_promote      = true
      min_healthy_time  = "5s"
      healthy_deadline  = "119s"
      progress_deadline = "2m"
      health_check      = "checks"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    service {
      name     = "api"
      port     = "p8443"
      provider = "nomad"

      check {
        name            = "api readiness"
        type            = "http"
        path            = "/ready"
        protocol        = "https"
        tls_skip_verify = true
        interval        = "10s"
        timeout         = "3s"

        header {
          X-Probe = ["yes"]
        }
      }

      check {
        name     = "api liveness"
        type     = "http"
        path     = "/live"
        port     = "p9000"
        interval = "1m"
        timeout  = "1s"
        task     = "api"

        check_restart {
          limit = 3
        }
      }
    }

    task "api" {
      # not translated: spec.template.spec.containers[0].lifecycle.postStart: add a task
      #   with `lifecycle { hook = "poststart" }`
      # not translated: spec.template.spec.containers[0].startupProbe.httpGet.httpHeaders:
      #   only a check of a service can send headers
      driver         = "pod"
      kill_timeout   = "30s"
      kill_signal    = "SIGQUIT"
      shutdown_delay = "5s"

      config {
        image             = "example.com/api:latest"
        image_pull_policy = "never"
        work_dir          = "/srv"

        ready {
          http     = "http://127.0.0.1:9000/start"
          interval = "10s"
          timeout  = "35s"
        }
      }

      resources {
        # The manifest requests no CPU; this is Nomad's default.
        cpu = 100

        # The manifest requests no memory; this is Nomad's default.
        memory = 300

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }

    task "worker" {
      # not translated: spec.template.spec.containers[1].livenessProbe: Nomad restarts a
      #   task by http and tcp checks of a service only, and no Service has this one
      # not translated: spec.template.spec.containers[1].readinessProbe.grpc: use a tcp
      #   check, or a program such as grpc_health_probe in `exec`
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/worker:2"
      }

      resources {
        # The manifest requests no CPU; this is Nomad's default.
        cpu = 100

        # The manifest requests no memory; this is Nomad's default.
        memory = 300

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }
  }
}

job "alone" {
  # Imported from probes.yaml, document 3: Pod "alone".
  type = "batch"

  group "alone" {
    count = 1

    network {
      mode = "bridge"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "alone" {
      # to decide: spec.containers[0].readinessProbe: it runs at the start only, and the
      #   task fails if it does not pass in time: checks of Nomad's services are http and
      #   tcp, of a port of a Service
      # not translated: spec.containers[0].livenessProbe: Nomad restarts a task by http and
      #   tcp checks of a service only, and no Service has this one
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/alone@sha256:6d4a1b6a9d27ae9d8ec5ba0b8c0d3a9e56fc2b6a3b4c2d4a8c1f5d6e7a8b9c0d"

        ready {
          tcp      = "127.0.0.1:9000"
          interval = "5s"
          timeout  = "1m"
        }
      }

      resources {
        # The manifest requests no CPU; this is Nomad's default.
        cpu = 100

        # The manifest requests no memory; this is Nomad's default.
        memory = 300

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }
  }
}

# probes.yaml:28: no equivalent: Deployment "api" spec.template.spec.containers[0].lifecycle.postStart
# probes.yaml:31: no equivalent: Deployment "api" spec.template.spec.containers[0].startupProbe.httpGet.httpHeaders
# probes.yaml:42: no equivalent: Deployment "api" spec.template.spec.containers[1].livenessProbe
# probes.yaml:43: no equivalent: Deployment "api" spec.template.spec.containers[1].readinessProbe.grpc
# probes.yaml:53: needs a decision: Pod "alone" spec.containers[0].readinessProbe
# probes.yaml:54: no equivalent: Pod "alone" spec.containers[0].livenessProbe
