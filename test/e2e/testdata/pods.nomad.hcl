# Many pods of two tasks that do nothing.
job "pods" {
  group "pods" {
    count = COUNT

    ephemeral_disk {
      size = 10
    }
TASKS
  }
}
