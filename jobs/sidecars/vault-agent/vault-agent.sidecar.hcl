sidecar "vault-agent" {
  version = "1.0.0"
  summary = "Renders secrets from Vault or OpenBao to memory that the application reads, and keeps them fresh."

  parameter "address" {
    type        = string
    example     = "https://vault.example.com:8200"
    description = "URL of Vault."
    validation {
      condition     = param.address != "" && regex_replace(param.address, "^https?://[A-Za-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?$", "") == ""
      error_message = "address must be an https or http URL without a path, such as https://vault.example.com:8200."
    }
  }

  parameter "role" {
    type        = string
    example     = "shop"
    description = "Role of Vault's JWT auth method to log in with."
    validation {
      condition     = param.role != "" && regex_replace(param.role, "^[A-Za-z0-9_.-]{1,128}$", "") == ""
      error_message = "role must be letters, digits, and _ . -, at most 128."
    }
  }

  parameter "mount" {
    type        = string
    default     = "jwt-nomad"
    description = "Where the JWT auth method is, below auth/."
    validation {
      condition     = param.mount != "" && regex_replace(param.mount, "^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,127}$", "") == ""
      error_message = "mount must be a path below auth/, such as jwt-nomad: letters, digits, and _ . / -."
    }
  }

  parameter "audience" {
    type        = string
    default     = "vault.io"
    description = "Audience of the workload identity, as the role's bound_audiences names it."
    validation {
      condition     = param.audience != "" && regex_replace(param.audience, "^[A-Za-z0-9:/._-]{1,255}$", "") == ""
      error_message = "audience must be letters, digits, and : / . _ -, at most 255."
    }
  }

  parameter "namespace" {
    type        = string
    default     = null
    example     = "team-a"
    description = "Namespace of Vault. Omitted: the root."
    validation {
      condition     = param.namespace == null ? true : param.namespace != "" && regex_replace(param.namespace, "^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,127}$", "") == ""
      error_message = "namespace must be letters, digits, and _ . / -, at most 128."
    }
  }

  parameter "secrets" {
    type        = map(string)
    default     = {}
    example     = { "database.json" = "secret/data/shop/database" }
    description = "Secrets to render as JSON: name of the file below /vault, and path in Vault. Of a KV store of version 2 the path has /data/, and the file only the secret's own fields."
    validation {
      condition     = length(param.secrets) <= 100 && length([for f, p in param.secrets : f if f == "" || regex_replace(f, "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$", "") != ""]) == 0
      error_message = "secrets must have at most 100 names of files: letters, digits, and _ . -."
    }
    validation {
      condition     = length([for f, p in param.secrets : f if p == null ? true : p == "" || regex_replace(p, "^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,255}$", "") != ""]) == 0
      error_message = "secrets must have paths in Vault, such as secret/data/shop/database: letters, digits, and _ . / -."
    }
  }

  parameter "templates" {
    type        = map(string)
    default     = {}
    example     = { "app.env" = "PASSWORD={{ with secret \"secret/data/shop/database\" }}{{ .Data.data.password }}{{ end }}" }
    description = "Files to render: name below /vault, and text in Vault Agent's template language."
    validation {
      condition     = length(param.templates) <= 100 && length([for f, t in param.templates : f if f == "" || regex_replace(f, "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$", "") != ""]) == 0
      error_message = "templates must have at most 100 names of files: letters, digits, and _ . -."
    }
    validation {
      condition     = length([for f, t in param.templates : f if t == null ? true : t == "" || strlen(t) > 65536 || replace(t, "<[nomad[", "") != t]) == 0
      error_message = "templates must have texts of 1 to 65536 bytes without <[nomad[."
    }
    validation {
      condition     = length(param.secrets) + length(param.templates) > 0 && length(distinct(concat(keys(param.secrets), keys(param.templates)))) == length(param.secrets) + length(param.templates)
      error_message = "templates and secrets must name at least one file, and none twice."
    }
  }

  parameter "start_timeout" {
    type        = string
    default     = "2m"
    description = "How long the application waits for its files before the start is retried."
    validation {
      condition     = param.start_timeout != "" && regex_replace(param.start_timeout, "^[1-9][0-9]{0,3}(s|m)$", "") == ""
      error_message = "start_timeout must be a number of s or m, such as 2m."
    }
  }

  parameter "ca_cert" {
    type        = string
    default     = null
    example     = "/etc/ssl/certs/company-ca.pem"
    description = "Absolute path of the certificate authority of address, in the image or on the client. Omitted: the public ones."
    validation {
      condition     = param.ca_cert == null ? true : param.ca_cert != "" && regex_replace(param.ca_cert, "^/[A-Za-z0-9/._-]{1,255}$", "") == ""
      error_message = "ca_cert must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "user" {
    type        = string
    default     = null
    description = "User the sidecar runs as. Omitted: the driver's default. The files belong to it."
    validation {
      condition     = param.user == null ? true : param.user != "" && regex_replace(param.user, "^[A-Za-z0-9_.-]{1,32}(:[A-Za-z0-9_.-]{1,32})?$", "") == ""
      error_message = "user must be the name or number of a user."
    }
  }

  parameter "perms" {
    type        = string
    default     = "0640"
    description = "Permissions of the files: 0640 if the application's user is in the sidecar's group, 0600 if it is the same, 0644 for every task that mounts /vault."
    validation {
      condition     = contains(["0600", "0640", "0644"], param.perms)
      error_message = "perms must be 0600, 0640 or 0644."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with vault, or OpenBao's bao, and a shell. Omitted: the client's own programs."
  }

  parameter "command" {
    type        = string
    default     = "/usr/bin/vault"
    description = "Absolute path of vault or bao, in the image or on the client."
    validation {
      condition     = param.command != "" && regex_replace(param.command, "^/[A-Za-z0-9/._-]+$", "") == ""
      error_message = "command must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    files = concat(keys(param.secrets), keys(param.templates))
  }

  api {
    directory "/vault" {
      access      = "write"
      description = "The rendered files, in the memory of the pod volume vault, which the application's tasks mount."
    }
  }

  task "vault-agent" {
    driver = "pod"
    user   = param.user

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    # A file that Nomad renews before it expires.
    identity {
      name        = "agent"
      aud         = [param.audience]
      file        = true
      ttl         = "1h"
      change_mode = "noop"
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args       = ["agent", "-config=/local/agent.hcl"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      pod_volume "vault" {
        target = "/vault"
        size   = "8m"
      }

      ready {
        command  = "/bin/sh"
        args     = concat(["-c", "for f; do [ -e \"/vault/$f\" ] || exit 1; done", "ready"], local.files)
        interval = "200ms"
        timeout  = param.start_timeout
      }
    }

    # Vault Agent's own language has the same delimiters as Nomad's: these
    # texts pass Nomad unchanged.
    dynamic "template" {
      for_each = param.templates
      content {
        destination     = "local/templates/${template.key}"
        left_delimiter  = "<[nomad["
        right_delimiter = "]nomad]>"
        data            = template.value
      }
    }

    template {
      destination     = "local/agent.hcl"
      left_delimiter  = "<[nomad["
      right_delimiter = "]nomad]>"
      data            = <<-EOT
        vault {
          address = "${param.address}"%{if param.namespace != null}
          namespace = "${coalesce(param.namespace, "-")}"%{endif}%{if param.ca_cert != null}
          ca_cert = "${coalesce(param.ca_cert, "-")}"%{endif}
          retry {
            num_retries = 12
          }
        }

        auto_auth {
          method "jwt" {
            mount_path = "auth/${param.mount}"
            max_backoff = "30s"
            config = {
              role = "${param.role}"
              path = "/secrets/nomad_agent.jwt"
              # The file is Nomad's, and the next login needs it.
              remove_jwt_after_reading = false
            }
          }
        }

        # When all attempts have failed it ends and Nomad starts it again: that
        # is an event of the task, an agent that goes on for ever is not.
        template_config {
          exit_on_retry_failure = true
        }
        %{for f, p in param.secrets}
        template {
          destination = "/vault/${f}"
          perms = "${param.perms}"
          error_on_missing_key = true
          contents = "{{ with secret \"${p}\" }}${regex_replace(p, "^.+/data/.+$", "") == "" ? "{{ .Data.data | toJSON }}" : "{{ .Data | toJSON }}"}{{ end }}"
        }
        %{endfor}%{for f, t in param.templates}
        template {
          source = "/local/templates/${f}"
          destination = "/vault/${f}"
          perms = "${param.perms}"
          error_on_missing_key = true
        }
        %{endfor}
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application, which has the secrets that were rendered before.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 128
    }
  }

  example "a secret as JSON" {
    description = "A secret of Vault as a file for the application."
    parameters = {
      address = "https://vault.example.com:8200"
      role    = "shop"
      secrets = { "database.json" = "secret/data/shop/database" }
    }
  }
}
