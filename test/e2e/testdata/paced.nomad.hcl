# Writes numbered lines up to the number in a file, so that a test decides when, and
# tells in another how far it is.
job "paced" {
  group "paced" {
    task "paced" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sh"
        args    = ["-c", "i=0; while :; do n=$(cat /alloc/data/upto 2>/dev/null || echo 0); while [ $i -lt $n ]; do i=$((i+1)); echo line $i; done; echo $i > /alloc/data/at; sleep 0.02; done"]

        logs {
          max_files     = 10
          max_file_size = 1
        }
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
