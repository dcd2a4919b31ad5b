job "redis-leader" {
  # Imported from guestbook.yaml, document 1: Deployment "redis-leader".
  type = "service"

  group "redis-leader" {
    count = 1

    meta {
      app  = "redis"
      role = "leader"
      tier = "backend"
    }

    network {
      mode = "bridge"

      port "redis_server" {
        to = 6379
      }
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    service {
      name     = "redis-leader"
      port     = "redis_server"
      provider = "nomad"
    }

    task "leader" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "docker.io/redis:6.0.5"
      }

      resources {
        cpu    = 100
        memory = 100

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }
  }
}

job "redis-follower" {
  # Imported from guestbook.yaml, document 1: Deployment "redis-follower".
  type = "service"

  group "redis-follower" {
    count = 2

    meta {
      app  = "redis"
      role = "follower"
      tier = "backend"
    }

    network {
      mode = "bridge"

      port "p6379" {
        to = 6379
      }
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "follower" {
      # to decide: spec.template.spec.containers[0].args[2]: it has the name of Service
      #   "redis-leader", and Nomad has no DNS names for services: render the address with a
      #   template and nomadService "redis-leader"
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/gb-redis-follower@sha256:6d4a1b6a9d27ae9d8ec5ba0b8c0d3a9e56fc2b6a3b4c2d4a8c1f5d6e7a8b9c0d"
        args  = ["redis-server", "--replicaof", "redis-leader.default.svc", "6379"]
      }

      resources {
        cpu    = 100
        memory = 100

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }
  }
}

job "frontend" {
  # Imported from guestbook.yaml, document 1: Deployment "frontend".
  type = "service"

  group "frontend" {
    # to decide: spec.template.spec.containers: a client has port 30080 once, so that an
    #   update, which starts new allocations before it stops old ones, needs more clients
    #   than allocations; or remove `canary` and `auto_promote`
    count = 3

    meta {
      app  = "guestbook"
      tier = "frontend"
    }

    network {
      mode = "bridge"

      port "p80" {
        static = 30080
        to     = 80
      }
    }

    update {
      max_parallel = 1
      canary       = 1
      auto_promote = true
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    service {
      name     = "frontend"
      port     = "p80"
      provider = "nomad"
    }

    task "php-redis" {
      # to decide: spec.template.spec.containers[0].env[1].value: it has the name of Service
      #   "redis-leader", and Nomad has no DNS names for services: render the address with a
      #   template and nomadService "redis-leader"
      # not translated: spec.template.spec.containers[0].resources.limits.cpu: a task may
      #   use idle CPU beyond its share; only a limit that equals the request is one in
      #   Nomad, `cpu_hard_limit`
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image             = "example.com/gb-frontend"
        image_pull_policy = "always"
      }

      env {
        GET_HOSTS_FROM = "dns"
        LEADER_URL     = "redis://redis-leader:6379/0"
      }

      resources {
        cpu        = 500
        memory     = 100
        memory_max = 200
      }
    }
  }
}

# guestbook.yaml:38: needs a decision: Deployment "redis-follower" spec.template.spec.containers[0].args[2]
# guestbook.yaml:58: needs a decision: Deployment "frontend" spec.template.spec.containers
# guestbook.yaml:63: needs a decision: Deployment "frontend" spec.template.spec.containers[0].env[1].value
# guestbook.yaml:64: no equivalent: Deployment "frontend" spec.template.spec.containers[0].resources.limits.cpu
