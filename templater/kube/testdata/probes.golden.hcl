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
        name            = "proxy liveness"
        type            = "http"
        path            = "/live"
        protocol        = "https"
        tls_skip_verify = true
        interval        = "10s"
        timeout         = "1s"

        header {
          Host = ["proxy"]
        }

        task = "proxy"

        check_restart {
          limit = 3
          grace = "10s"
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
        kill_signal       = "SIGQUIT"
        kill_timeout      = "30s"

        ready {
          http     = "http://127.0.0.1:9000/start"
          interval = "10s"
          timeout  = "35s"
        }

        live {
          http     = "http://127.0.0.1:9000/live"
          interval = "1m"
          timeout  = "1s"
          failures = 5
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
      # to decide: spec.template.spec.containers[1].livenessProbe.timeoutSeconds: the
      #   interval is 20s instead of 10s, since one attempt of `live` ends before the next
      #   begins
      # not translated: spec.template.spec.containers[1].readinessProbe.grpc: use a tcp
      #   check, or a program such as grpc_health_probe in `exec`
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "example.com/worker:2"
        kill_timeout = "5s"

        live {
          exec     = ["worker", "ping"]
          interval = "20s"
          timeout  = "20s"
          failures = 3
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

    task "proxy" {
      # not translated:
      #   spec.template.spec.containers[2].startupProbe.terminationGracePeriodSeconds: the
      #   task's `kill_timeout` applies
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/proxy:3"

        ready {
          exec     = ["true"]
          interval = "10s"
          timeout  = "30s"
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
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "example.com/alone@sha256:6d4a1b6a9d27ae9d8ec5ba0b8c0d3a9e56fc2b6a3b4c2d4a8c1f5d6e7a8b9c0d"
        kill_timeout = "30s"

        ready {
          tcp      = "127.0.0.1:9000"
          interval = "5s"
          timeout  = "1m"
        }

        live {
          tcp      = "127.0.0.1:9000"
          interval = "10s"
          timeout  = "1s"
          failures = 3
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

    task "secure" {
      # not translated: spec.containers[1].livenessProbe.httpGet.httpHeaders: only a check
      #   of a service can send headers
      # to decide: spec.containers[1].livenessProbe.httpGet.scheme: Kubernetes does not
      #   check the certificate and `live` would, so that it connects only
      # to decide: spec.containers[1].livenessProbe.initialDelaySeconds: `live` has no
      #   delay, so that failures is 6 instead of 3 for a slow start; with a `ready` block,
      #   which delays it, 3 suffices
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "example.com/secure:1"
        kill_timeout = "30s"

        live {
          tcp      = "127.0.0.1:9443"
          interval = "10s"
          timeout  = "1s"
          failures = 6
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

    task "rpc" {
      # not translated: spec.containers[2].livenessProbe.grpc: use a tcp check, or a program
      #   such as grpc_health_probe in `exec`
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/rpc:1"
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

job "limits" {
  # Imported from probes.yaml, document 4: Pod "limits".
  type = "service"

  group "limits" {
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

    task "most" {
      driver       = "pod"
      kill_timeout = "0s"

      config {
        image        = "example.com/most:1"
        kill_timeout = "1s"

        ready {
          http     = "http://127.0.0.1:65535/a%20b%0A"
          interval = "2147483647s"
          timeout  = "9223372036s"
        }

        live {
          http     = "http://127.0.0.1:65535/%25zz"
          interval = "2147483647s"
          timeout  = "2147483647s"
          failures = 2147483647
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

    task "least" {
      driver       = "pod"
      kill_timeout = "0s"

      config {
        image        = "example.com/least:1"
        kill_timeout = "1s"

        live {
          tcp      = "127.0.0.1:1"
          interval = "1s"
          timeout  = "1s"
          failures = 1
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

    task "slow" {
      # to decide: spec.containers[2].livenessProbe.timeoutSeconds: the interval is
      #   2147483647s instead of 1s, since one attempt of `live` ends before the next begins
      driver       = "pod"
      kill_timeout = "0s"

      config {
        image        = "example.com/slow:1"
        kill_timeout = "1s"

        live {
          tcp      = "127.0.0.1:1"
          interval = "2147483647s"
          timeout  = "2147483647s"
          failures = 3
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
# probes.yaml:43: needs a decision: Deployment "api" spec.template.spec.containers[1].livenessProbe.timeoutSeconds
# probes.yaml:44: no equivalent: Deployment "api" spec.template.spec.containers[1].readinessProbe.grpc
# probes.yaml:47: no equivalent: Deployment "api" spec.template.spec.containers[2].startupProbe.terminationGracePeriodSeconds
# probes.yaml:60: needs a decision: Pod "alone" spec.containers[0].readinessProbe
# probes.yaml:64: no equivalent: Pod "alone" spec.containers[1].livenessProbe.httpGet.httpHeaders
# probes.yaml:64: needs a decision: Pod "alone" spec.containers[1].livenessProbe.httpGet.scheme
# probes.yaml:64: needs a decision: Pod "alone" spec.containers[1].livenessProbe.initialDelaySeconds
# probes.yaml:67: no equivalent: Pod "alone" spec.containers[2].livenessProbe.grpc
# probes.yaml:94: needs a decision: Pod "limits" spec.containers[2].livenessProbe.timeoutSeconds
