job "shop-example-org" {
  # Imported from unusual.yaml, document 4: Deployment "shop.example.org".
  # not translated: metadata.annotations: annotations are instructions for other
  #   programs in the cluster; use `meta` or a service's `tags` for a program that reads
  #   them
  # to decide: spec.paused: register the job when it may change; Nomad cannot hold back
  #   a registered job's update
  # not translated: spec.progresDeadlineSeconds: Kubernetes has no field of this name,
  #   or it is newer than this program; check the spelling and the indentation
  namespace = "shops"
  type      = "service"

  group "shop-example-org" {
    # to decide: spec.template.spec.imagePullSecrets: give the client credentials in
    #   image.auth_file of the driver's plugin config, or the task an `auth` block
    # not translated: spec.template.spec.runtimeClassName: the operator chooses the OCI
    #   runtime of all pods of a client
    # to decide: spec.template.spec.topologySpreadConstraints: write a `spread` block over
    #   an attribute or meta of the clients
    # to decide: spec.template.spec.volumes[1].nfs: create a CSI volume with `nomad volume
    #   create`, and mount it with `volume` and `volume_mount`
    # not translated:
    #   spec.template.spec.volumes[2].projected.sources[0].serviceAccountToken: use
    #   `identity { file = true }` for a token of Nomad's own
    # to decide: spec.template.spec.volumes[2].projected.sources[1].secret: Secret "tls"
    #   is in none of the files, so that its keys are unknown and the directory is empty;
    #   import the file that has it too
    # to decide: spec.template.spec.volumes[2].projected.sources[2].configMap: ConfigMap
    #   "ca" is in none of the files; store its values in the Nomad variable
    # not translated: spec.template.spec.volumes[3].emptyDir.sizeLimit: Nomad has one
    #   limit for an allocation's disk, `ephemeral_disk`, and does not enforce it for
    #   directories
    # The tasks wait for this variable: nomad var put -namespace shops
    #   nomad/jobs/shop-example-org ca_ca_crt=…
    count = 2

    meta {
      app = "shop"
    }

    network {
      mode = "bridge"
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

    ephemeral_disk {
      size = 500
    }

    task "shop" {
      # not translated: spec.template.spec.containers[0].stdin: a task has no input; use
      #   `nomad alloc exec -i`
      # not translated: spec.template.spec.containers[0].tty: a task has no terminal; use
      #   `nomad alloc exec -t`
      # not translated: spec.template.spec.containers[0].terminationMessagePolicy: write the
      #   reason to stderr; `nomad alloc logs -stderr` shows it
      # not translated: spec.template.spec.containers[0].resources.limits.cpu: a task may
      #   use idle CPU beyond its share; only a limit that equals the request is one in
      #   Nomad, `cpu_hard_limit`
      # not translated: spec.template.spec.containers[0].resources.limits.ephemeral-storage:
      #   Nomad does not limit the disk of a task
      # to decide: spec.template.spec.containers[0].resources.limits.nvidia.com/gpu: ask for
      #   a device with a `device` block in resources, if a client has a device plugin for
      #   it
      # to decide: spec.template.spec.containers[0].volumeMounts[3]: the directory belongs
      #   to root, and the task's user cannot write to it; let a prestart task change its
      #   mode
      driver       = "pod"
      user         = "1000"
      kill_timeout = "30s"

      config {
        image             = "localhost:5000/shop"
        image_pull_policy = "always"
        args              = ["--title=$$${TITLE}", "--mode=${MODE}", "--cost=100%%%{x}"]
        volumes = [
          "../alloc/data:/a",
          "../alloc/tmp:/b",
          "../alloc/c/deep/er:/c",
          "secrets/token:/var/run/secrets:ro",
        ]

        mount {
          type              = "image"
          source            = "example.com/model:1"
          target            = "/model"
          image_pull_policy = "always"

          image_options {
            subpath = "v2/weights"
          }
        }
      }

      env = {
        "MODE"       = "fast"
        "bad.name-x" = "1"
      }

      template {
        destination = "secrets/env"
        env         = true
        data        = <<EOT
TITLE={{ "a $${MODE} b" | toJSON }}
EOT
      }

      template {
        destination          = "secrets/token/ca.crt"
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/shop-example-org" }}{{ .ca_ca_crt.Value }}{{ end }}{{ "" -}}
EOT
      }

      resources {
        cpu        = 1500
        memory     = 1431
        memory_max = 2048
      }
    }
  }
}

# unusual.yaml:2: no equivalent: Ingress "shop" 
# unusual.yaml:9: no equivalent: ConfigMap "nobody-reads-this" 
# unusual.yaml:21: no equivalent: Deployment "shop.example.org" metadata.annotations
# unusual.yaml:23: needs a decision: Deployment "shop.example.org" spec.paused
# unusual.yaml:25: no equivalent: Deployment "shop.example.org" spec.progresDeadlineSeconds
# unusual.yaml:30: needs a decision: Deployment "shop.example.org" spec.template.spec.imagePullSecrets
# unusual.yaml:31: no equivalent: Deployment "shop.example.org" spec.template.spec.runtimeClassName
# unusual.yaml:32: needs a decision: Deployment "shop.example.org" spec.template.spec.topologySpreadConstraints
# unusual.yaml:35: needs a decision: Deployment "shop.example.org" spec.template.spec.volumes[1].nfs
# unusual.yaml:36: no equivalent: Deployment "shop.example.org" spec.template.spec.volumes[2].projected.sources[0].serviceAccountToken
# unusual.yaml:36: needs a decision: Deployment "shop.example.org" spec.template.spec.volumes[2].projected.sources[1].secret
# unusual.yaml:36: needs a decision: Deployment "shop.example.org" spec.template.spec.volumes[2].projected.sources[2].configMap
# unusual.yaml:37: no equivalent: Deployment "shop.example.org" spec.template.spec.volumes[3].emptyDir.sizeLimit
# unusual.yaml:43: no equivalent: Deployment "shop.example.org" spec.template.spec.containers[0].stdin
# unusual.yaml:44: no equivalent: Deployment "shop.example.org" spec.template.spec.containers[0].tty
# unusual.yaml:45: no equivalent: Deployment "shop.example.org" spec.template.spec.containers[0].terminationMessagePolicy
# unusual.yaml:52: no equivalent: Deployment "shop.example.org" spec.template.spec.containers[0].resources.limits.cpu
# unusual.yaml:52: no equivalent: Deployment "shop.example.org" spec.template.spec.containers[0].resources.limits.ephemeral-storage
# unusual.yaml:52: needs a decision: Deployment "shop.example.org" spec.template.spec.containers[0].resources.limits.nvidia.com/gpu
# unusual.yaml:59: needs a decision: Deployment "shop.example.org" spec.template.spec.containers[0].volumeMounts[3]
