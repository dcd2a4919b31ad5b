job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "backup" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }
      kill_timeout = "30s"

      config {
        command = "/bin/sh"
        args    = ["/local/backup.sh", "/alloc/data", "/alloc/config/app.conf"]

        ready {
          file     = "/local/ready"
          interval = "100ms"
          timeout  = "2m"
        }

        pre_stop {
          command = "/bin/sh"
          args    = ["/local/backup.sh", "--final", "/alloc/data", "/alloc/config/app.conf"]
          timeout = "15s"
        }
      }

      env {
        RESTIC_REPOSITORY = "s3:https://s3.example.com/backups/web"
        BACKUP_INTERVAL   = 3600
        BACKUP_KEEP       = "--keep-daily=7 --keep-last=3"
        BACKUP_TAG        = "web.web"
      }

      template {
        destination = "secrets/restic.env"
        env         = true
        change_mode = "noop"
        data        = <<EOT
{{ with nomadVar "nomad/jobs/web" }}{{ range .Tuples }}{{ .K }}={{ .V | toJSON }}
{{ end }}RESTIC_PASSWORD={{ .password.Value | toJSON }}{{ end }}
EOT
      }

      template {
        destination = "local/backup.sh"
        data        = <<EOT
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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"backup\"]}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "backup"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
