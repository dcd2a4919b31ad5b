# Writes numbered lines for ever, so that a lost or repeated one shows.
job "counter" {
  group "counter" {
    task "counter" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/bin/sh"
        args    = ["-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
