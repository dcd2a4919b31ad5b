job "node-exporter" {
  # Imported from host.yaml, document 1: DaemonSet "node-exporter".
  # not translated: spec.updateStrategy.type: OnDelete: Nomad updates allocations when
  #   the job is registered
  namespace = "monitoring"
  type      = "system"

  group "node-exporter" {
    # to decide: spec.template.spec.hostPID: the operator must set allow_host_namespaces
    #   in the driver's plugin config
    # to decide: spec.template.spec.hostIPC: the operator must set allow_host_namespaces
    #   in the driver's plugin config
    # not translated: spec.template.spec.dnsPolicy: there is no DNS of a cluster: tasks
    #   have the client's name servers, or those of dnsConfig
    # to decide: spec.template.spec.priorityClassName: choose a `priority` of the job from
    #   1 to 100
    # not translated: spec.template.spec.serviceAccountName: a task has an `identity` of
    #   Nomad's own; a service account's rights are those of an ACL policy for that
    #   identity
    # to decide: spec.template.spec.volumes[0].hostPath: the operator must set volumes {
    #   enabled = true } in the driver's plugin config
    # to decide: spec.template.spec.volumes[1].hostPath: the operator must set volumes {
    #   enabled = true } in the driver's plugin config
    meta {
      app = "node-exporter"
    }

    network {
      mode = "host"

      port "metrics" {
        static = 9100
      }
    }

    update {
      max_parallel = 1
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    constraint {
      attribute = "${node.unique.name}"
      value     = "worker-1"
    }

    task "exporter" {
      # to decide: spec.template.spec.containers[0].securityContext.privileged: the operator
      #   must set allow_privileged in the driver's plugin config
      # to decide: spec.template.spec.containers[0].securityContext.appArmorProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      # to decide: spec.template.spec.containers[0].securityContext.seccompProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "quay.io/prometheus/node-exporter:v1.8.2"
        args         = ["--path.rootfs=/host", "--web.listen-address=${HOST_IP}:9100"]
        pid_mode     = "host"
        ipc_mode     = "host"
        privileged   = true
        cap_add      = ["sys_time", "net_raw"]
        security_opt = ["no-new-privileges=false", "seccomp=unconfined", "apparmor=exporter"]
        volumes      = ["/var/log/pods:/logs"]

        mount {
          type     = "bind"
          source   = "/"
          target   = "/host"
          readonly = true

          bind_options {
            propagation = "rslave"
          }
        }
      }

      env {
        HOST_IP = "${attr.unique.network.ip-address}"
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

# host.yaml:7: no equivalent: DaemonSet "node-exporter" spec.updateStrategy.type
# host.yaml:12: needs a decision: DaemonSet "node-exporter" spec.template.spec.hostPID
# host.yaml:13: needs a decision: DaemonSet "node-exporter" spec.template.spec.hostIPC
# host.yaml:15: no equivalent: DaemonSet "node-exporter" spec.template.spec.dnsPolicy
# host.yaml:16: needs a decision: DaemonSet "node-exporter" spec.template.spec.priorityClassName
# host.yaml:17: no equivalent: DaemonSet "node-exporter" spec.template.spec.serviceAccountName
# host.yaml:26: needs a decision: DaemonSet "node-exporter" spec.template.spec.containers[0].securityContext.privileged
# host.yaml:29: needs a decision: DaemonSet "node-exporter" spec.template.spec.containers[0].securityContext.appArmorProfile
# host.yaml:30: needs a decision: DaemonSet "node-exporter" spec.template.spec.containers[0].securityContext.seccompProfile
# host.yaml:36: needs a decision: DaemonSet "node-exporter" spec.template.spec.volumes[0].hostPath
# host.yaml:38: needs a decision: DaemonSet "node-exporter" spec.template.spec.volumes[1].hostPath
