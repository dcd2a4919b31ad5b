# A task whose first instruction is to read which processors it may use, and
# which goes on to read it. The words in capitals are filled in by the test.
job "NAME" {
  group "cores" {
    task "cores" {
      driver      = "pod"
      kill_signal = "SIGKILL"

      config {
        command = "/usr/bin/awk"
        args    = ["/Cpus_allowed_list/ { print $2; fflush(); system(\"sleep infinity\") }", "/proc/self/status"]
      }

      resources {
        RESOURCES
        memory = 32
      }
    }
  }
}
