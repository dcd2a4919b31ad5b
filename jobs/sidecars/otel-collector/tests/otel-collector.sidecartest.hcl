test "writes the collector's configuration" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", headers_variable = "nomad/jobs/shop/otel", java_agent = "/otel/javaagent.jar" }
  golden     = "web.golden.hcl"
}

test "adds to the application's own variables" {
  parameters = { endpoint = "https://otlp.example.com", java_agent = "/otel/javaagent.jar" }
  job        = <<-EOT
    job "web" {
      group "web" {
        network {
          mode = "bridge"
        }
        task "app" {
          driver = "pod"
          env {
            JAVA_TOOL_OPTIONS        = "-Xmx64m"
            OTEL_RESOURCE_ATTRIBUTES = "deployment.environment=prod"
          }
        }
      }
    }
  EOT

  assert {
    condition     = group.web.task.app.Env.JAVA_TOOL_OPTIONS == "-Xmx64m -javaagent:/otel/javaagent.jar"
    error_message = "The agent is added to the options."
  }
  assert {
    condition     = substr(group.web.task.app.Env.OTEL_RESOURCE_ATTRIBUTES, 0, 47) == "deployment.environment=prod,service.instance.id"
    error_message = "The allocation is added to the attributes."
  }
}

test "changes no Java without an agent" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com" }

  assert {
    condition     = !can(group.web.task.app.Env.JAVA_TOOL_OPTIONS)
    error_message = "Only java_agent sets it."
  }
}

test "speaks grpc, and only traces" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com:4317", protocol = "grpc", signals = ["traces"], memory = 512, max_message = 64 }

  assert {
    condition     = regex_replace(group.web.task.otel-collector.Templates[0].EmbeddedTmpl, "(?s).*pipelines:(.*)", "$1") == "\n    traces:\n      receivers: [otlp]\n      processors: [memory_limiter, batch]\n      exporters: [otlp]\n"
    error_message = "It has one pipeline, which begins with the limiter."
  }
  assert {
    condition     = group.web.task.otel-collector.Env.GOMEMLIMIT == "409MiB" && group.web.task.otel-collector.Resources.MemoryMB == 512
    error_message = "The limits follow the memory."
  }
}

test "refuses an address that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com\n    headers: {}" }
  error      = "endpoint must be an https or http URL"
}

test "refuses an address with a reference" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://$${env:HOME}.example.com" }
  error      = "endpoint must be an https or http URL"
}

test "refuses a path for grpc" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com/v1", protocol = "grpc" }
  error      = "endpoint must be scheme, host and port for grpc"
}

test "refuses a password in the address" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://user:password@otlp.example.com" }
  error      = "endpoint must be an https or http URL"
}

test "refuses a variable that is a template" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", headers_variable = "a\" }}{{ env \"HOME" }
  error      = "headers_variable must be the path"
}

test "refuses a signal that is configuration" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", signals = ["traces:\n  x"] }
  error      = "signals must be a list"
}

test "refuses an agent with options" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", java_agent = "/otel/agent.jar -Dx=y.jar" }
  error      = "java_agent must be an absolute path"
}

test "refuses messages that do not fit" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", max_message = 64 }
  error      = "max_message must be at most an eighth of memory"
}

test "refuses a command with arguments" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", command = "/bin/sh -c" }
  error      = "command must be an absolute path"
}

test "needs a network of its own" {
  parameters = { endpoint = "https://otlp.example.com" }
  job        = <<-EOT
    job "web" {
      group "web" {
        task "app" {
          driver = "pod"
        }
      }
    }
  EOT
  error      = "Unusable network mode"
}

test "runs its command in an image" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", image = "registry.example.com/x:1", command = "/otelcol" }

  assert {
    condition     = group.web.task.otel-collector.Config.entrypoint == [""] && group.web.task.otel-collector.Config.command == "/otelcol"
    error_message = "The image's entrypoint would get the command as an argument."
  }
}

test "refuses another protocol" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", protocol = "kafka" }
  error      = "protocol must be http or grpc"
}

test "refuses a part of a megabyte" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", max_message = 0.5 }
  error      = "max_message must be a whole number"
}

test "refuses too little memory" {
  job        = "web.nomad.hcl"
  parameters = { endpoint = "https://otlp.example.com", memory = 127, max_message = 1 }
  error      = "memory must be a whole number"
}
