job "mixed" {
  # Imported from settings.yaml, document 4: StatefulSet "mixed".
  type = "service"

  group "mixed" {
    # to decide: spec.template.spec.volumes[3].persistentVolumeClaim: create a host volume
    #   "block", or a CSI volume and set `type`, `access_mode` and `attachment_mode`: 1Gi,
    #   ReadOnlyMany, volume disk-7, a block device, at most 2Gi
    # to decide: spec.template.spec.volumes[4].hostPath: the operator must set volumes {
    #   enabled = true } in the driver's plugin config
    # to decide: spec.template.spec.volumes[5].hostPath: name the device in `devices`
    #   instead of `volumes`; the operator must set allow_devices
    # The tasks wait for this variable: nomad var put nomad/jobs/mixed keys_key=…
    #   keys_other=…
    count = 4

    meta {
      app = "mixed"
    }

    network {
      mode = "bridge"

      port "p80" {
        static = 8080
        to     = 80
      }

      port "p9999" {
        to = 9999
      }
    }

    update {
      max_parallel = 2
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    volume "block" {
      type      = "host"
      source    = "block"
      read_only = true
    }

    task "main" {
      # not translated: spec.template.spec.containers[0].ports[1].protocol: Nomad forwards
      #   TCP and UDP only
      # to decide: spec.template.spec.containers[0].envFrom[1]: ConfigMap "gone" is optional
      #   and in none of the files; if it exists, import the file that has it too
      # to decide: spec.template.spec.containers[0].securityContext.runAsGroup: without
      #   runAsUser the task keeps the group of the image's user; set `user = "UID:7"`
      # to decide: spec.template.spec.containers[0].securityContext.seccompProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      # to decide: spec.template.spec.containers[0].securityContext.appArmorProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "example.com/mixed:1"
        hostname     = "fixed"
        group_add    = ["5", "6"]
        security_opt = ["seccomp=unconfined", "apparmor=unconfined"]
        volumes = [
          "local/some:/some:ro",
          "secrets/all:/all:ro",
          "local/maybe:/maybe:ro",
          "secrets/hidden:/hidden:ro",
          "local/self:/self:ro",
          "/dev/kmsg:/dev/kmsg",
        ]

        mount {
          type   = "bind"
          source = "/run/app.socket"
          target = "/run/socket"
        }
      }

      env {
        a = "1"
        b = "2"
        M = "67108864"
      }

      template {
        destination = "secrets/env"
        env         = true
        change_mode = "noop"
        data        = <<EOT
{{ if nomadVarExists "nomad/jobs/mixed" -}}
{{ with nomadVar "nomad/jobs/mixed" -}}
{{ with (index . "keys_key").Value }}S={{ . | toJSON }}{{ end }}
{{ end -}}
{{ end -}}
EOT
      }

      template {
        destination = "local/some/deep/a"
        perms       = "0600"
        data        = "1"
      }

      template {
        destination = "secrets/all/a"
        perms       = "0444"
        data        = "1"
      }

      template {
        destination = "secrets/all/key"
        perms       = "0444"
        change_mode = "noop"
        data        = <<EOT
{{ if nomadVarExists "nomad/jobs/mixed" }}{{ with nomadVar "nomad/jobs/mixed" }}{{ (index . "keys_key").Value }}{{ end }}{{ end }}{{ "" -}}
EOT
      }

      template {
        destination = "secrets/all/uid"
        perms       = "0444"
        data        = "{{ env \"NOMAD_ALLOC_ID\" }}"
      }

      template {
        destination = "secrets/hidden/key"
        change_mode = "noop"
        data        = <<EOT
{{ if nomadVarExists "nomad/jobs/mixed" }}{{ with nomadVar "nomad/jobs/mixed" }}{{ (index . "keys_key").Value }}{{ end }}{{ end }}{{ "" -}}
EOT
      }

      template {
        destination = "secrets/hidden/other"
        change_mode = "noop"
        data        = <<EOT
{{ if nomadVarExists "nomad/jobs/mixed" }}{{ with nomadVar "nomad/jobs/mixed" }}{{ (index . "keys_other").Value }}{{ end }}{{ end }}{{ "" -}}
EOT
      }

      template {
        destination = "local/self/name"
        perms       = "0400"
        data        = "{{ print \"mixed-\" (env \"NOMAD_ALLOC_INDEX\") }}"
      }

      template {
        destination = "local/self/annotations"
        perms       = "0440"
        data        = "{{/* empty */}}"
      }

      volume_mount {
        volume      = "block"
        destination = "/block"
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

    task "side" {
      # to decide: spec.template.spec.containers[1].securityContext.runAsNonRoot: Nomad does
      #   not check that the image's user is not root; set `user`
      # to decide: spec.template.spec.containers[1].securityContext.seccompProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      # to decide: spec.template.spec.containers[1].securityContext.appArmorProfile: the
      #   operator must set allow_privileged in the driver's plugin config
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image        = "example.com/side:1"
        hostname     = "fixed"
        group_add    = ["5", "6"]
        security_opt = ["seccomp=unconfined", "apparmor=unconfined"]
      }

      resources {
        # The manifest requests no CPU; this is Nomad's default.
        cpu    = 100
        memory = 64

        # No limit, as in the manifest, if the scheduler's memory oversubscription is enabled.
        memory_max = -1
      }
    }
  }
}

job "by-hand" {
  # Imported from settings.yaml, document 5: StatefulSet "by-hand".
  # not translated: spec.updateStrategy.type: OnDelete: Nomad updates allocations when
  #   the job is registered
  type = "service"

  group "by-hand" {
    count = 1

    meta {
      app = "by-hand"
    }

    network {
      mode = "bridge"
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

    task "main" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image    = "example.com/main:1"
        hostname = "by-hand-${NOMAD_ALLOC_INDEX}"
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

job "slow" {
  # Imported from settings.yaml, document 6: DaemonSet "slow".
  # not translated: spec.updateStrategy.rollingUpdate.maxSurge: a system job stops a
  #   node's allocation before it starts the next one
  # to decide: spec.updateStrategy.rollingUpdate.maxUnavailable: `max_parallel` is a
  #   number of clients, not a percentage; it is 1 here
  type = "system"

  group "slow" {
    meta {
      app = "slow"
    }

    network {
      mode = "bridge"
    }

    update {
      max_parallel     = 1
      min_healthy_time = "400s"
      healthy_deadline = "460s"
    }

    restart {
      attempts = 3
      interval = "5m"
      delay    = "15s"
      mode     = "delay"
    }

    task "main" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/main:1"
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

job "many" {
  # Imported from settings.yaml, document 7: Job "many".
  # not translated: spec.parallelism: Nomad runs all 6 allocations of the job together
  # not translated: spec.activeDeadlineSeconds: Nomad 1.11 has no limit for the time
  #   that a job runs
  type = "batch"

  group "many" {
    count = 6

    network {
      mode = "bridge"
    }

    restart {
      attempts = 6
      interval = "24h"
      delay    = "10s"
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "main" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/main:1"
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

job "paused" {
  # Imported from settings.yaml, document 8: CronJob "paused".
  # not translated: spec.concurrencyPolicy: Replace: Nomad does not stop a run for the
  #   next one; with `prohibit_overlap` it skips the next one
  type = "batch"

  meta {
    team = "reports"
  }

  periodic {
    crons            = ["@hourly"]
    prohibit_overlap = true
    enabled          = false
  }

  group "paused" {
    count = 1

    network {
      mode = "bridge"
    }

    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts       = 6
      interval       = "24h"
      delay          = "10s"
      delay_function = "exponential"
      max_delay      = "6m"
      unlimited      = false
    }

    task "main" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "example.com/main:1"
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

# settings.yaml:42: no equivalent: StatefulSet "mixed" spec.template.spec.containers[0].ports[1].protocol
# settings.yaml:45: needs a decision: StatefulSet "mixed" spec.template.spec.containers[0].envFrom[1]
# settings.yaml:50: needs a decision: StatefulSet "mixed" spec.template.spec.containers[0].securityContext.runAsGroup
# settings.yaml:50: needs a decision: StatefulSet "mixed" spec.template.spec.containers[0].securityContext.seccompProfile
# settings.yaml:50: needs a decision: StatefulSet "mixed" spec.template.spec.containers[0].securityContext.appArmorProfile
# settings.yaml:63: needs a decision: StatefulSet "mixed" spec.template.spec.containers[1].securityContext.runAsNonRoot
# settings.yaml:63: needs a decision: StatefulSet "mixed" spec.template.spec.containers[1].securityContext.seccompProfile
# settings.yaml:63: needs a decision: StatefulSet "mixed" spec.template.spec.containers[1].securityContext.appArmorProfile
# settings.yaml:68: needs a decision: StatefulSet "mixed" spec.template.spec.volumes[3].persistentVolumeClaim
# settings.yaml:69: needs a decision: StatefulSet "mixed" spec.template.spec.volumes[4].hostPath
# settings.yaml:70: needs a decision: StatefulSet "mixed" spec.template.spec.volumes[5].hostPath
# settings.yaml:89: no equivalent: StatefulSet "by-hand" spec.updateStrategy.type
# settings.yaml:101: no equivalent: DaemonSet "slow" spec.updateStrategy.rollingUpdate.maxSurge
# settings.yaml:101: needs a decision: DaemonSet "slow" spec.updateStrategy.rollingUpdate.maxUnavailable
# settings.yaml:113: no equivalent: Job "many" spec.parallelism
# settings.yaml:114: no equivalent: Job "many" spec.activeDeadlineSeconds
# settings.yaml:126: no equivalent: CronJob "paused" spec.concurrencyPolicy
