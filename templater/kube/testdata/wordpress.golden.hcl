job "wordpress-mysql" {
  # Imported from wordpress.yaml, document 3: Deployment "wordpress-mysql".
  type = "service"

  meta {
    app = "wordpress"
  }

  group "wordpress-mysql" {
    # to decide: spec.template.spec.volumes[0].persistentVolumeClaim: create a host volume
    #   "mysql-pv-claim", or a CSI volume and set `type`, `access_mode` and
    #   `attachment_mode`: 20Gi, ReadWriteOnce
    # The tasks wait for this variable: nomad var put nomad/jobs/wordpress-mysql
    #   mysql_pass_password=…
    count = 1

    meta {
      tier = "mysql"
    }

    network {
      mode = "bridge"

      port "mysql" {
        to = 3306
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

    volume "mysql-persistent-storage" {
      type   = "host"
      source = "mysql-pv-claim"
    }

    service {
      name     = "wordpress-mysql"
      port     = "mysql"
      provider = "nomad"
    }

    task "mysql" {
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "mysql:8.0"
      }

      env {
        MYSQL_DATABASE = "wordpress"
      }

      template {
        destination          = "secrets/env"
        env                  = true
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/wordpress-mysql" -}}
MYSQL_ROOT_PASSWORD={{ .mysql_pass_password.Value | toJSON }}
{{ end -}}
EOT
      }

      volume_mount {
        volume      = "mysql-persistent-storage"
        destination = "/var/lib/mysql"
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

job "wordpress" {
  # Imported from wordpress.yaml, document 6: Deployment "wordpress".
  # to decide: Service "wordpress" spec.type: LoadBalancer: Nomad has none; put one in
  #   front of the service, or give the port a `static` number
  type = "service"

  meta {
    app = "wordpress"
  }

  group "wordpress" {
    # to decide: spec.template.spec.volumes[0].persistentVolumeClaim: create a host volume
    #   "wp-pv-claim", or a CSI volume and set `type`, `access_mode` and
    #   `attachment_mode`: 20Gi, ReadWriteOnce
    # The tasks wait for this variable: nomad var put nomad/jobs/wordpress
    #   mysql_pass_password=…
    count = 1

    meta {
      tier = "frontend"
    }

    network {
      mode = "bridge"

      port "wordpress" {
        to = 80
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

    volume "wordpress-persistent-storage" {
      type   = "host"
      source = "wp-pv-claim"
    }

    service {
      name     = "wordpress"
      port     = "wordpress"
      provider = "nomad"
    }

    task "wordpress" {
      # to decide: spec.template.spec.containers[0].env[0].value: it has the name of Service
      #   "wordpress-mysql", and Nomad has no DNS names for services: render the address
      #   with a template and nomadService "wordpress-mysql"
      driver       = "pod"
      kill_timeout = "30s"

      config {
        image = "wordpress:6.2.1-apache"
      }

      env {
        WORDPRESS_DB_HOST = "wordpress-mysql"
      }

      template {
        destination          = "secrets/env"
        env                  = true
        change_mode          = "noop"
        error_on_missing_key = true
        data                 = <<EOT
{{ with nomadVar "nomad/jobs/wordpress" -}}
WORDPRESS_DB_PASSWORD={{ .mysql_pass_password.Value | toJSON }}
{{ end -}}
EOT
      }

      volume_mount {
        volume      = "wordpress-persistent-storage"
        destination = "/var/www/html"
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

# wordpress.yaml:67: needs a decision: Deployment "wordpress-mysql" spec.template.spec.volumes[0].persistentVolumeClaim
# wordpress.yaml:82: needs a decision: Service "wordpress" spec.type
# wordpress.yaml:116: needs a decision: Deployment "wordpress" spec.template.spec.containers[0].env[0].value
# wordpress.yaml:130: needs a decision: Deployment "wordpress" spec.template.spec.volumes[0].persistentVolumeClaim
