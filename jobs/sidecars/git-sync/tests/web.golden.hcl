job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    task "app" {
      driver = "pod"
      #sidecar> added by nomad-sidecar, up to #sidecar<
      env {
        GIT_SYNC_DIR = "/alloc/data/site"
      }
      #sidecar< sha256:…
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "git-sync" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/bin/sh"
        args = [
          "/local/sync.sh",
          "https://git.example.com/team/site.git",
          "main",
          "/alloc/data/site",
          30,
        ]

        ready {
          file     = "/local/synced"
          interval = "100ms"
          timeout  = "2m"
        }
      }

      template {
        destination = "local/sync.sh"
        data        = <<EOT
# sync.sh REPOSITORY REF DESTINATION SECONDS
set -u
repository=$1 ref=$2 destination=$3 seconds=$4
store=$destination.git-sync
git=$store/git
export HOME=/local GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:file
export GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=30

# Nothing else uses this repository: a lock is of a git that was killed.
prepare() {
  mkdir -p "$store" || return
  rm -rf "$store"/new.* /local/synced
  if [ -d "$git" ]; then
    find "$git" -name '*.lock' -type f -delete
    git --git-dir="$git" rev-parse --git-dir >/dev/null 2>&1 && return
    rm -rf "$git"
  fi
  git init -q --bare "$git" || return
  # The repository of a file:// URL may belong to another user.
  git config --global --replace-all safe.directory '*'
  git config --global --replace-all credential.helper \
    '!f() { [ "$1" = get ] && [ -n "$GIT_SYNC_PASSWORD" ] && printf "username=%s\npassword=%s\n" "$GIT_SYNC_USER" "$GIT_SYNC_PASSWORD"; }; f'
}

# A commit is unpacked beside the current one, then the link moves in one
# step. The commit before stays for those who have its files open.
sync() {
  git --git-dir="$git" fetch -q --depth 1 --no-tags --force "$repository" "$ref" || return
  commit=$(git --git-dir="$git" rev-parse --verify -q 'FETCH_HEAD^{commit}') || return
  now=$(readlink "$destination" 2>/dev/null); now=$${now##*/}
  [ "$commit" = "$now" ] && [ -d "$store/$commit" ] && return
  if [ ! -d "$store/$commit" ]; then
    new=$store/new.$commit
    rm -rf "$new" && mkdir "$new" || return
    git --git-dir="$git" archive "$commit" >"$store/new.tar" || return
    tar -xf "$store/new.tar" -C "$new" || return
    mv -T "$new" "$store/$commit" || return
  fi
  if [ -e "$destination" ] && [ ! -L "$destination" ]; then
    echo "git-sync: $destination exists and is not a link of git-sync: remove it or set another destination" >&2
    return 1
  fi
  rm -f "$store/link" "$store/new.tar" && ln -s "$${store##*/}/$commit" "$store/link" || return
  mv -T "$store/link" "$destination" || return
  echo "git-sync: $ref is $commit" >&2
  for old in "$store"/*; do
    case $${old##*/} in git | "$commit" | "$now") ;; *) rm -rf "$old" ;; esac
  done
}

pause=
trap '[ -z "$pause" ] || kill "$pause" 2>/dev/null' HUP
trap '[ -z "$pause" ] || kill "$pause" 2>/dev/null; exit 0' TERM INT
prepare || exit 1
while :; do
  if sync; then
    : >/local/synced
  else
    echo "git-sync: no commit of $ref from $repository; trying again in $seconds s" >&2
  fi
  sleep "$seconds" &
  pause=$!
  wait "$pause"
  pause=
done
EOT
      }

      env {
        GIT_SYNC_USER     = ""
        GIT_SYNC_PASSWORD = ""
      }

      template {
        destination = "secrets/git.env"
        env         = true
        data        = <<EOT
{{ with nomadVar "nomad/jobs/web" }}GIT_SYNC_USER={{ .user.Value | toJSON }}
GIT_SYNC_PASSWORD={{ .password.Value | toJSON }}{{ end }}
EOT
      }

      restart {
        attempts = 3
        interval = "1m"
        delay    = "5s"
        mode     = "delay"
      }

      resources {
        cpu    = 50
        memory = 64
      }
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"git-sync\"],\"env\":{\"app\":[\"GIT_SYNC_DIR\"]},\"seals\":{\"app/env/GIT_SYNC_DIR\":\"595cd6a12e67e161\"}}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "git-sync"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
