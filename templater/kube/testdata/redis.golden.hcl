job "redis" {
  # Imported from redis.yaml, document 2: StatefulSet "redis".
  # not translated: spec.podManagementPolicy: OrderedReady, the default: Nomad starts
  #   all allocations together; let the program wait for its peers
  # to decide: spec.serviceName: Nomad has no DNS name for each allocation; the services
  #   that select the pods register one address per allocation, in no order
  # not translated: spec.updateStrategy.rollingUpdate.partition: use `update { canary
  #   }`, and promote when the canaries are well
  # not translated: spec.template.metadata.annotations: annotations are instructions for
  #   other programs in the cluster; use `meta` or a service's `tags` for a program that
  #   reads them
  # to decide: spec.volumeClaimTemplates[0]: create a volume for each allocation,
  #   data-redis[0] and so on: 1Gi, ReadWriteOnce, storage class fast
  type = "service"

  group "redis" {
    # to decide: spec.template.spec.terminationGracePeriodSeconds: clients allow 30s
    #   unless `max_kill_timeout` in their configuration is higher
    # to decide: spec.template.spec.affinity: write `constraint`, `affinity` or `spread`
    #   blocks
    # to decide: spec.template.spec.nodeSelector.disktype: set meta { disktype = "ssd" }
    #   in the configuration of these clients
    # to decide: spec.template.spec.tolerations: Nomad has no taints; use node pools
    #   (`node_pool`) or constraints on the meta of clients
    # to decide: spec.template.spec.securityContext.fsGroup: the tasks are in the group,
    #   but Nomad changes no owners: let the group own the files of the volume
    # to decide: spec.template.spec.volumes[0].configMap: ConfigMap "redis-conf" is in
    #   none of the files, so that its keys are unknown and the directory is empty; import
    #   the file that has it too
    count = 3

    meta {
      app = "redis"
    }

    network {
      mode = "bridge"

      port "redis" {
        to = 6379
      }

      port "gossip" {
        to = 7946
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "20s"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    constraint {
      attribute = "${meta.disktype}"
      value     = "ssd"
    }

    constraint {
      attribute = "${attr.cpu.arch}"
      value     = "arm64"
    }

    volume "data" {
      type      = "host"
      source    = "data-redis"
      per_alloc = true
    }

    service {
      name     = "redis"
      port     = "redis"
      provider = "nomad"
    }

    service {
      name     = "redis-gossip-udp"
      port     = "gossip"
      provider = "nomad"
    }

    service {
      name     = "redis-gossip-tcp"
      port     = "gossip"
      provider = "nomad"
    }

    task "first" {
      driver       = "pod"
      kill_timeout = "1m"

      lifecycle {
        hook = "prestart"
      }

      config {
        image      = "busybox:1.36"
        entrypoint = ["true"]
        hostname   = "redis-${NOMAD_ALLOC_INDEX}"
        group_add  = ["999"]
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

    task "second" {
      # to decide: spec.template.spec.initContainers[1]: it starts together with the init
      #   containers before it, since Nomad runs the tasks of a hook at the same time; join
      #   them into one task, or let this one wait, for example for a file in /alloc
      driver       = "pod"
      kill_timeout = "1m"

      lifecycle {
        hook = "prestart"
      }

      config {
        image      = "busybox:1.36"
        entrypoint = ["true"]
        hostname   = "redis-${NOMAD_ALLOC_INDEX}"
        group_add  = ["999"]
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

    task "redis" {
      # to decide: spec.template.spec.containers[0].readinessProbe: it runs at the start
      #   only, and the task fails if it does not pass in time: checks of Nomad's services
      #   are http and tcp, of a port of a Service
      driver       = "pod"
      kill_timeout = "1m"

      config {
        image        = "redis:7.2"
        entrypoint   = ["redis-server", "/conf/redis.conf", "--cluster-announce-ip", "${POD_IP}"]
        hostname     = "redis-${NOMAD_ALLOC_INDEX}"
        group_add    = ["999"]
        kill_timeout = "1m"
        volumes      = ["local/conf:/conf:ro"]

        ready {
          exec     = ["redis-cli", "ping"]
          interval = "10s"
          timeout  = "30s"
        }

        live {
          tcp      = "127.0.0.1:6379"
          interval = "10s"
          timeout  = "1s"
          failures = 5
        }
      }

      env {
        POD_IP = "${NOMAD_ALLOC_IP_redis}"
      }

      volume_mount {
        volume      = "data"
        destination = "/data"
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

# redis.yaml:16: no equivalent: StatefulSet "redis" spec.podManagementPolicy
# redis.yaml:17: needs a decision: StatefulSet "redis" spec.serviceName
# redis.yaml:22: no equivalent: StatefulSet "redis" spec.updateStrategy.rollingUpdate.partition
# redis.yaml:26: no equivalent: StatefulSet "redis" spec.template.metadata.annotations
# redis.yaml:28: needs a decision: StatefulSet "redis" spec.template.spec.terminationGracePeriodSeconds
# redis.yaml:29: needs a decision: StatefulSet "redis" spec.template.spec.affinity
# redis.yaml:34: needs a decision: StatefulSet "redis" spec.template.spec.nodeSelector.disktype
# redis.yaml:35: needs a decision: StatefulSet "redis" spec.template.spec.tolerations
# redis.yaml:36: needs a decision: StatefulSet "redis" spec.template.spec.securityContext.fsGroup
# redis.yaml:41: needs a decision: StatefulSet "redis" spec.template.spec.initContainers[1]
# redis.yaml:58: needs a decision: StatefulSet "redis" spec.template.spec.containers[0].readinessProbe
# redis.yaml:65: needs a decision: StatefulSet "redis" spec.template.spec.volumes[0].configMap
# redis.yaml:67: needs a decision: StatefulSet "redis" spec.volumeClaimTemplates[0]
