test "looks at the processes of the pod" {
  parameters = { port = 9200 }
  job        = "web.nomad.hcl"

  assert {
    condition     = group.web.task.app.Config.share == ["ipc", "uts", "pid"] && group.web.task.metrics.Config.share == ["ipc", "uts", "pid"]
    error_message = "The application shares its PID namespace with it."
  }
  assert {
    condition     = group.web.task.metrics.Config.args == ["-listen", ":9200"] && group.web.Networks[0].DynamicPorts[0].To == 9200
    error_message = "The port leads to where it listens."
  }
  assert {
    condition     = group.web.Services == null
    error_message = "No service is registered unless asked for."
  }
}

test "registers a service on request" {
  parameters = { service = "web-metrics", alloc_id = true }
  job        = "web.nomad.hcl"

  assert {
    condition     = group.web.Services[0].Name == "web-metrics" && group.web.Services[0].Provider == "nomad" && group.web.Services[0].PortLabel == "metrics"
    error_message = "Prometheus finds the port by the service."
  }
  assert {
    condition     = contains(group.web.task.metrics.Config.args, "-alloc-id")
    error_message = "Allocations are distinguished."
  }
}

test "runs from an image" {
  parameters = { image = "oci:/srv/images/metrics:1.0.0" }
  job        = "web.nomad.hcl"

  assert {
    condition     = group.web.task.metrics.Config.image == "oci:/srv/images/metrics:1.0.0" && group.web.task.metrics.Config.command == "/opt/nomad-sidecar/bin/metrics"
    error_message = "The program is at the same place in the image."
  }
}

test "refuses another provider" {
  parameters = { service_provider = "zookeeper" }
  job        = "web.nomad.hcl"
  error      = "service_provider must be nomad or consul."
}

test "refuses a port that is none" {
  parameters = { port = 70000 }
  job        = "web.nomad.hcl"
  error      = "port must be a whole number"
}

test "refuses a relative command" {
  parameters = { command = "metrics" }
  job        = "web.nomad.hcl"
  error      = "command must be an absolute path."
}
