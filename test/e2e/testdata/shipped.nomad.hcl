# Writes lines that count on both of its outputs, more than Nomad puts into one
# file, then one without an end.
job "NAME" {
  group "shipped" {
    sidecar "log-shipper" {
      sink           = "SINK"
      batch_lines    = 200
      file_max_bytes = 4000000
      file_keep      = 50
    }

    task "app" {
      driver = "pod"

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOT
          i=0
          while [ $i -lt LINES ]; do
            i=$((i+1))
            echo "$i is a line on stdout that is so long that there are several files of them"
            echo "$i is a line on stderr that is so long that there are several files of them" >&2
          done
          printf 'the end'
          trap exit TERM
          sleep 600 &
          wait
        EOT
        ]

        logs {
          max_files     = 20
          max_file_size = 1
        }
      }

      resources {
        cpu    = 100
        memory = 32
      }
    }
  }
}
