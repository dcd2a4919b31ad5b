# Files and variables that Nomad makes for a task. ARTIFACT is a URL.
job "rendered" {
  group "inside" {
    task "inside" {
      driver = "pod"

      artifact {
        source      = "ARTIFACT/tool.tar.gz"
        destination = "local/tool"
      }
      artifact {
        source      = "ARTIFACT/page.html"
        destination = "${NOMAD_ALLOC_DIR}/data"
      }

      template {
        destination   = "local/signalled"
        data          = "{{ with nomadVar \"nomad/jobs/rendered\" }}{{ .signalled }}{{ end }}\n"
        splay         = "0s"
        change_mode   = "signal"
        change_signal = "SIGHUP"
      }
      template {
        destination = "local/scripted"
        data        = "{{ with nomadVar \"nomad/jobs/rendered/inside\" }}{{ .scripted }}{{ end }}\n"
        splay       = "0s"
        change_mode = "script"
        change_script {
          command = "/bin/sh"
          args    = ["-c", "cp /local/scripted /tmp/seen"]
        }
      }
      template {
        destination = "secrets/restarted.env"
        data        = "RESTARTED={{ with nomadVar \"nomad/jobs/rendered/inside/inside\" }}{{ .restarted }}{{ end }}\n"
        env         = true
        splay       = "0s"
        change_mode = "restart"
      }
      template {
        destination = "secrets/mode"
        data        = "of {{ env \"NOMAD_JOB_NAME\" }}"
        perms       = "0640"
        uid         = 65534
        gid         = 65534
      }

      config {
        command = "/bin/sh"
        args    = ["-c", "trap 'echo hup; cat /local/signalled' HUP; trap 'exit 0' TERM; echo started with $RESTARTED; while :; do sleep infinity & wait $!; done"]
      }

      resources {
        cpu     = 50
        memory  = 40
        secrets = 3
      }
    }
  }
}
