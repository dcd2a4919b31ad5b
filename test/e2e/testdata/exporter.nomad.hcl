# nginx with an exporter of some kind. Its status page comes late.
job "exporter" {
  group "web" {
    network {
      mode = "bridge"
    }

    sidecar "exporter" {
      kind              = "KIND"
      password_variable = "KIND" == "mysqld" ? "nomad/jobs/exporter" : null
    }

    task "nginx" {
      driver = "pod"

      config {
        command = "/bin/sh"
        args    = ["-c", "sleep 1; mkdir -p /tmp/temp; exec /usr/sbin/nginx -e stderr -c /local/nginx.conf"]
      }

      template {
        destination = "local/nginx.conf"
        data        = <<-EOT
          daemon off;
          pid /tmp/nginx.pid;
          events {}
          http {
            access_log off;
            client_body_temp_path /tmp/temp;
            proxy_temp_path       /tmp/temp;
            fastcgi_temp_path     /tmp/temp;
            uwsgi_temp_path       /tmp/temp;
            scgi_temp_path        /tmp/temp;
            server {
              listen 127.0.0.1:8080;
              location /stub_status {
                stub_status;
              }
            }
          }
        EOT
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
