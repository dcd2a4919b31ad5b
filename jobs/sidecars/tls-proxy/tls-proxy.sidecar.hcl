sidecar "tls-proxy" {
  version = "1.0.0"
  summary = "Terminates TLS in front of an application that speaks plain HTTP."

  parameter "app_port" {
    type        = number
    example     = 8080
    description = "Loopback port the application listens on."
    validation {
      condition     = param.app_port >= 1 && param.app_port <= 65535 && floor(param.app_port) == param.app_port
      error_message = "app_port must be a whole number between 1 and 65535."
    }
  }

  parameter "listen_port" {
    type        = number
    default     = 8443
    description = "Port the proxy listens on inside the pod."
    validation {
      condition     = param.listen_port >= 1 && param.listen_port <= 65535 && floor(param.listen_port) == param.listen_port
      error_message = "listen_port must be a whole number between 1 and 65535."
    }
    validation {
      condition     = param.listen_port != param.app_port
      error_message = "listen_port must differ from app_port: both are ports of the same pod."
    }
  }

  parameter "self_signed" {
    type        = bool
    default     = false
    description = "Create a self-signed certificate at start if alloc/tls has none."
  }

  parameter "server_name" {
    type        = string
    default     = "localhost"
    description = "DNS name in the self-signed certificate; localhost and 127.0.0.1 are always in it."
    validation {
      condition     = param.server_name != "" && regex_replace(param.server_name, "^[A-Za-z0-9*][A-Za-z0-9.-]{0,62}$", "") == ""
      error_message = "server_name must be a DNS name of at most 63 characters, such as web.example.com."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with nginx, and openssl for self_signed. Omitted: the client's own programs."
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include the proxy's processes. Other tasks can then list and may signal them too."
  }

  api {
    port "https" {
      to          = param.listen_port
      description = "TLS endpoint; forwards to app_port."
    }
    directory "alloc/tls" {
      access      = "read"
      description = "cert.pem (the chain, leaf first) and key.pem, both PEM."
    }
    env "HTTPS_PORT" {
      value       = "${param.listen_port}"
      description = "Port inside the pod that serves TLS."
    }
    signal "SIGHUP" {
      description = "Reloads the certificate; open connections continue."
    }
  }

  requires {
    network = ["bridge", "cni"]
  }

  task "tls-proxy" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = "/bin/sh"
      args       = ["${NOMAD_TASK_DIR}/start.sh"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null
    }

    # nginx ends immediately on SIGTERM; on SIGQUIT it first answers open requests.
    kill_signal = "SIGQUIT"

    env {
      TLS_SELF_SIGNED = param.self_signed
      TLS_SERVER_NAME = param.server_name
    }

    template {
      destination = "local/start.sh"
      data        = <<-EOT
        # Finds the certificate, then becomes nginx.
        set -eu
        PATH=$PATH:/usr/sbin:/sbin
        cd "$NOMAD_TASK_DIR"

        stop() {
          echo "tls-proxy: $*" >&2
          exit 1
        }

        command -v nginx >/dev/null || stop "nginx is not installed: install it on the client, or set the parameter image"

        tls=$NOMAD_ALLOC_DIR/tls
        missing=
        for file in cert.pem key.pem; do
          [ -r "$tls/$file" ] || missing="$missing $tls/$file"
        done

        # A certificate made here stays out of the alloc directory, where
        # every task could read its key.
        if [ -n "$missing" ] && [ "$TLS_SELF_SIGNED" = true ]; then
          tls=$NOMAD_SECRETS_DIR/tls
          command -v openssl >/dev/null || stop "openssl is not installed, and self_signed requires it: install it on the client, or use an image that has it"
          if [ ! -r "$tls/cert.pem" ] || [ ! -r "$tls/key.pem" ]; then
            mkdir -p -m 0700 "$tls"
            log=$(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
              -subj "/CN=$TLS_SERVER_NAME" \
              -addext "subjectAltName=DNS:$TLS_SERVER_NAME,DNS:localhost,IP:127.0.0.1" \
              -keyout "$tls/key.pem" -out "$tls/cert.pem" 2>&1) || stop "make a certificate: $log"
            echo "tls-proxy: made a self-signed certificate for $TLS_SERVER_NAME" >&2
          fi
        elif [ -n "$missing" ]; then
          stop "no certificate: cannot read$missing; have a prestart task write both as PEM, or set self_signed = true"
        fi
        ln -sfn "$tls" tls

        # Nomad's log pipe belongs to root: a process of another user may write
        # to the one it was given but not open it again, as nginx does.
        ln -sfn /dev/stdout access.log
        if [ ! -w /dev/stdout ]; then
          rm -f access.pipe
          mkfifo -m 0600 access.pipe
          cat access.pipe &
          ln -sfn access.pipe access.log
        fi

        mkdir -p temp
        exec nginx -e stderr -p "$PWD/" -c nginx.conf
      EOT
    }

    template {
      destination = "local/nginx.conf"
      data        = <<-EOT
        # Relative paths are below the task's own directory.
        daemon off;
        worker_processes 1;
        worker_shutdown_timeout 4s;
        error_log stderr notice;
        pid nginx.pid;

        events {
          worker_connections 1024;
        }

        http {
          access_log access.log;
          server_tokens off;

          client_body_temp_path temp/body;
          proxy_temp_path       temp/proxy;
          fastcgi_temp_path     temp/fastcgi;
          uwsgi_temp_path       temp/uwsgi;
          scgi_temp_path        temp/scgi;

          map $http_upgrade $connection_upgrade {
            default upgrade;
            ""      "";
          }

          server {
            # nginx before 1.25.1 knows HTTP/2 only as a word of listen.
            listen ${param.listen_port} ssl http2;

            ssl_certificate     tls/cert.pem;
            ssl_certificate_key tls/key.pem;
            ssl_protocols       TLSv1.2 TLSv1.3;
            ssl_session_cache   shared:tls:1m;

            # Limits on bodies and on patience are the application's to set.
            client_max_body_size     0;
            proxy_request_buffering  off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout       1h;
            proxy_send_timeout       1h;

            location / {
              proxy_pass         http://127.0.0.1:${param.app_port};
              proxy_http_version 1.1;
              proxy_set_header   Host $http_host;
              proxy_set_header   Upgrade $http_upgrade;
              proxy_set_header   Connection $connection_upgrade;

              # Overwritten, not added to: what a client claims about itself is
              # not for the application to believe.
              proxy_set_header X-Real-IP         $remote_addr;
              proxy_set_header X-Forwarded-For   $remote_addr;
              proxy_set_header X-Forwarded-Host  $http_host;
              proxy_set_header X-Forwarded-Proto https;
            }
          }
        }
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application; a proxy without a certificate waits and tries again.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 32
    }
  }

  output "port" {
    value       = param.listen_port
    description = "Port inside the pod that serves TLS."
  }

  example "a test certificate" {
    description = "TLS in front of the application, with a certificate made at the start."
    parameters = {
      app_port    = 8080
      self_signed = true
    }
  }
}
