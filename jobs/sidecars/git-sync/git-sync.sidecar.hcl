sidecar "git-sync" {
  version = "1.0.0"
  summary = "Keeps a branch of a git repository in the alloc directory, each commit complete."

  parameter "repository" {
    type        = string
    example     = "https://git.example.com/team/site.git"
    description = "URL of the repository: https://, http:// or file://."
    validation {
      condition     = param.repository != "" && regex_replace(param.repository, "^(https?|file)://[A-Za-z0-9._~:/%+-]{1,500}$", "") == ""
      error_message = "repository must be an https, http or file URL without a user, such as https://git.example.com/team/site.git."
    }
  }

  parameter "ref" {
    type        = string
    default     = "main"
    description = "Branch or tag."
    validation {
      condition     = param.ref != "" && regex_replace(param.ref, "^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,200}$", "") == ""
      error_message = "ref must be the name of a branch or tag."
    }
  }

  parameter "destination" {
    type        = string
    default     = "data/site"
    description = "Where the files are, below the alloc directory: data/site is /alloc/data/site in each task, a link that moves to the new commit at once."
    validation {
      condition     = param.destination != "" && regex_replace(param.destination, "^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$", "") == ""
      error_message = "destination must be a path below the alloc directory, such as data/site: letters, digits, and / _ . -."
    }
  }

  parameter "interval" {
    type        = number
    default     = 30
    description = "Seconds between two checks of the repository."
    validation {
      condition     = param.interval >= 1 && param.interval <= 86400 && floor(param.interval) == param.interval
      error_message = "interval must be a whole number of seconds from 1 to 86400."
    }
  }

  parameter "start_timeout" {
    type        = string
    default     = "2m"
    description = "How long the application waits for its first commit before the start is retried."
    validation {
      condition     = param.start_timeout != "" && regex_replace(param.start_timeout, "^[1-9][0-9]{0,3}(s|m)$", "") == ""
      error_message = "start_timeout must be a number of s or m, such as 2m."
    }
  }

  parameter "password_variable" {
    type        = string
    default     = null
    example     = "nomad/jobs/web"
    description = "Path of the Nomad variable whose items user and password authenticate to the repository. The task's workload identity must be allowed to read it."
    validation {
      condition     = param.password_variable == null ? true : param.password_variable != "" && regex_replace(param.password_variable, "^[A-Za-z0-9~_-][A-Za-z0-9/~_-]{0,127}$", "") == ""
      error_message = "password_variable must be the path of a Nomad variable, such as nomad/jobs/web."
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
    description = "Image with git, tar and a shell. Omitted: the client's own programs."
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  api {
    directory "alloc" {
      access      = "write"
      description = "destination, a link to the files of the current commit, and beside it destination.git-sync."
    }
    env "GIT_SYNC_DIR" {
      value       = "/alloc/${param.destination}"
      description = "Where the files are."
    }
    signal "SIGHUP" {
      description = "Checks the repository immediately."
    }
  }

  task "git-sync" {
    driver = "pod"
    user   = param.user

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = "/bin/sh"
      args       = ["/local/sync.sh", param.repository, param.ref, "/alloc/${param.destination}", "${param.interval}"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      ready {
        file     = "/local/synced"
        interval = "100ms"
        timeout  = param.start_timeout
      }
    }

    template {
      destination = "local/sync.sh"
      data        = <<-EOT
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
      enabled     = param.password_variable != null
      destination = "secrets/git.env"
      env         = true
      data        = <<-EOT
        {{ with nomadVar "${coalesce(param.password_variable, "-")}" }}GIT_SYNC_USER={{ .user.Value | toJSON }}
        GIT_SYNC_PASSWORD={{ .password.Value | toJSON }}{{ end }}
      EOT
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
      cpu    = 50
      memory = 64
    }
  }

  example "a site" {
    description = "A checkout of branch main that is up to date within ten seconds."
    parameters = {
      repository = "https://git.example.com/team/site.git"
      interval   = 10
    }
  }
}
