sidecar "backup" {
  version = "1.0.0"
  summary = "Backs up directories of the alloc directory with restic, on a schedule and when the application has ended."

  parameter "paths" {
    type        = list(string)
    example     = ["data"]
    description = "Directories and files to back up, below the alloc directory."
    validation {
      condition     = length(param.paths) > 0 && length(param.paths) <= 100
      error_message = "paths must name 1 to 100 paths."
    }
    validation {
      condition     = length([for p in param.paths : p if p == null ? true : p == "" || regex_replace(p, "^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$", "") != ""]) == 0
      error_message = "paths must be paths below the alloc directory, such as data: letters, digits, and / _ . -."
    }
  }

  parameter "repository" {
    type        = string
    example     = "s3:https://s3.example.com/backups/shop"
    description = "restic's repository: a directory, or rest:, s3:, b2:, azure:, gs: or swift: and its address. Each job needs its own."
    validation {
      condition     = param.repository != "" && regex_replace(param.repository, "^(/|(rest|s3|b2|azure|gs|swift):)[A-Za-z0-9._~:/%+-]{1,500}$", "") == ""
      error_message = "repository must be a directory, or rest:, s3:, b2:, azure:, gs: or swift: and an address without a password."
    }
  }

  parameter "password_variable" {
    type        = string
    example     = "nomad/jobs/shop"
    description = "Path of the Nomad variable whose item password encrypts the repository. All of its items become environment variables too, such as AWS_ACCESS_KEY_ID. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.password_variable != "" && regex_replace(param.password_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "password_variable must be the path of a Nomad variable, such as nomad/jobs/shop."
    }
  }

  parameter "volume" {
    type        = string
    default     = null
    description = "Volume of the group, mounted at /backup, for a repository that is a directory there."
    validation {
      condition     = param.volume == null ? true : param.volume != ""
      error_message = "volume must be the name of a volume of the group."
    }
  }

  parameter "interval" {
    type        = number
    default     = 3600
    description = "Seconds between two backups."
    validation {
      condition     = param.interval >= 1 && param.interval <= 31536000 && floor(param.interval) == param.interval
      error_message = "interval must be a whole number of seconds from 1 to 31536000."
    }
  }

  parameter "final" {
    type        = bool
    default     = true
    description = "Back up once more when the allocation stops, after the application has ended."
  }

  parameter "final_timeout" {
    type        = number
    default     = 15
    description = "Seconds that the last backup may take. The client's max_kill_timeout must be at least twice as long."
    validation {
      condition     = param.final_timeout >= 1 && param.final_timeout <= 3600 && floor(param.final_timeout) == param.final_timeout
      error_message = "final_timeout must be a whole number of seconds from 1 to 3600."
    }
  }

  parameter "keep" {
    type        = object({ last = optional(number), hourly = optional(number), daily = optional(number), weekly = optional(number), monthly = optional(number) })
    default     = {}
    example     = { last = 3, daily = 7 }
    description = "Snapshots to keep; others are forgotten and their data is pruned after each scheduled backup. Empty: all are kept."
    validation {
      condition     = length([for k, n in param.keep : k if n == null ? false : n < 1 || floor(n) != n]) == 0
      error_message = "keep must have whole numbers of 1 or more."
    }
  }

  parameter "user" {
    type        = string
    default     = null
    description = "User the sidecar runs as: the application's, if it needs the same permissions. Omitted: the driver's default."
    validation {
      condition     = param.user == null ? true : param.user != "" && regex_replace(param.user, "^[A-Za-z0-9_.-]{1,32}(:[A-Za-z0-9_.-]{1,32})?$", "") == ""
      error_message = "user must be the name or number of a user."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with restic and a shell. Omitted: the client's own programs."
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    keep = [for k, n in param.keep : "--keep-${k}=${n}" if n != null]
  }

  api {
    directory "alloc" {
      access      = "read"
      description = "What is backed up."
    }
    signal "SIGHUP" {
      description = "Backs up immediately."
    }
  }

  task "backup" {
    driver = "pod"
    user   = param.user

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    kill_timeout = "${2 * param.final_timeout}s"

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = "/bin/sh"
      args       = concat(["/local/backup.sh"], [for p in param.paths : "/alloc/${p}"])
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        file     = "/local/ready"
        interval = "100ms"
        timeout  = "2m"
      }

      # It runs when the application has ended, since sidecars end last.
      pre_stop {
        command = "/bin/sh"
        args    = concat(["/local/backup.sh", param.final ? "--final" : "--none"], [for p in param.paths : "/alloc/${p}"])
        timeout = "${param.final_timeout}s"
      }
    }

    env {
      RESTIC_REPOSITORY = param.repository
      BACKUP_INTERVAL   = param.interval
      BACKUP_KEEP       = join(" ", local.keep)
      BACKUP_TAG        = "${job.name}.${group.name}"
    }

    template {
      destination = "secrets/restic.env"
      env         = true
      change_mode = "noop"
      data        = <<-EOT
        {{ with nomadVar "${param.password_variable}" }}{{ range .Tuples }}{{ .K }}={{ .V | toJSON }}
        {{ end }}RESTIC_PASSWORD={{ .password.Value | toJSON }}{{ end }}
      EOT
    }

    template {
      destination = "local/backup.sh"
      data        = <<-EOT
        # backup.sh [--final | --none] PATH…
        set -u
        export HOME=/local RESTIC_CACHE_DIR=/local/cache
        [ "$1" != --none ] || exit 0
        final=
        if [ "$1" = --final ]; then
          final=yes
          shift
        fi

        # A path that does not exist yet is no error; restic would fail.
        existing() {
          for path; do
            [ -e "$path" ] && printf '%s\0' "$path"
          done
        }

        # A lock of a restic that was killed is removed when its process is gone
        # or after half an hour. It delays forget, not the backup.
        backup() {
          restic unlock -q
          existing "$@" >/local/paths
          [ -s /local/paths ] || { echo "backup: nothing to back up yet" >&2; return 0; }
          restic backup -q --host "$BACKUP_TAG" --tag "$BACKUP_TAG" --files-from-raw /local/paths || return
          echo "backup: done" >&2
          [ -n "$BACKUP_KEEP" ] && [ -z "$final" ] || return 0
          restic forget -q --prune --tag "$BACKUP_TAG" --group-by tags $BACKUP_KEEP ||
            echo "backup: snapshots were not forgotten; the next backup tries again" >&2
        }

        if [ -n "$final" ]; then
          backup "$@"
          exit
        fi

        # Without a lock: that of a killed prune would hide the repository.
        rm -f /local/ready
        restic cat config --no-lock >/dev/null 2>&1 || restic init -q || {
          echo "backup: cannot open or create the repository $RESTIC_REPOSITORY" >&2
          exit 1
        }
        : >/local/ready

        pause=
        trap '[ -z "$pause" ] || kill "$pause" 2>/dev/null' HUP
        trap '[ -z "$pause" ] || kill "$pause" 2>/dev/null; exit 0' TERM INT
        while :; do
          sleep "$BACKUP_INTERVAL" &
          pause=$!
          wait "$pause"
          pause=
          backup "$@" || echo "backup: failed; trying again in $BACKUP_INTERVAL s" >&2
        done
      EOT
    }

    volume_mount {
      enabled     = param.volume != null
      volume      = param.volume
      destination = "/backup"
    }

    # The group's own restart block may give up and with it end the
    # application.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    resources {
      cpu    = 100
      memory = 256
    }
  }

  example "nightly copies" {
    description = "A copy each night, kept for a week, and one when the allocation stops."
    parameters = {
      paths             = ["data"]
      repository        = "s3:https://s3.example.com/backups/shop"
      password_variable = "nomad/jobs/shop"
      interval          = 86400
      keep              = { daily = 7 }
    }
  }
}
