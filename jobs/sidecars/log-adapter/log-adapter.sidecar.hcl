sidecar "log-adapter" {
  version = "1.0.0"
  summary = "Turns the lines of a log file in a format of its own into JSON on stdout."

  parameter "file" {
    type        = string
    example     = "data/app.log"
    description = "Log file of the application, below the alloc directory. It may appear late, and be rotated or truncated."
    validation {
      condition     = param.file != "" && regex_replace(param.file, "^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$", "") == ""
      error_message = "file must be a path below the alloc directory, such as data/app.log: letters, digits, and / _ . -."
    }
  }

  parameter "pattern" {
    type        = string
    example     = "^([^ ]+) \\[([A-Z]+)\\] (.*)$"
    description = "Extended regular expression of a line (regex(7)), with a group in parentheses for each of fields."
    validation {
      condition     = param.pattern != "" && regex_replace(param.pattern, "^[^'\\x00-\\x1f\\x7f]{1,1000}$", "") == ""
      error_message = "pattern must be at most 1000 characters, without ' and control characters; . matches any."
    }
  }

  parameter "fields" {
    type        = list(string)
    example     = ["client", "level", "message"]
    description = "Names of the groups of pattern, in their order."
    validation {
      condition     = length(param.fields) > 0 && length(param.fields) <= 40 && length(distinct(param.fields)) == length(param.fields)
      error_message = "fields must be 1 to 40 different names."
    }
    validation {
      condition     = length([for f in param.fields : f if f == null ? true : f == "" || regex_replace(f, "^[A-Za-z][A-Za-z0-9_]{0,62}$", "") != ""]) == 0
      error_message = "fields must be names of letters, digits and _, at most 63."
    }
  }

  parameter "start" {
    type        = string
    default     = null
    example     = "^[0-9]"
    description = "Extended regular expression that only the first line of a message matches: lines that do not match belong to the message before. Omitted: each line is a message."
    validation {
      condition     = param.start == null ? true : param.start != "" && regex_replace(param.start, "^[^'\\x00-\\x1f\\x7f]{1,1000}$", "") == ""
      error_message = "start must be at most 1000 characters, without ' and control characters; . matches any."
    }
  }

  parameter "image" {
    type        = string
    default     = null
    description = "Image with rsyslogd. Omitted: the client's own programs."
  }

  parameter "command" {
    type        = string
    default     = "/usr/sbin/rsyslogd"
    description = "Absolute path of rsyslogd, in the image or on the client."
    validation {
      condition     = param.command != "" && regex_replace(param.command, "^/[A-Za-z0-9/._-]+$", "") == ""
      error_message = "command must be an absolute path of letters, digits, and / . _ -."
    }
  }

  parameter "share_pid" {
    type        = bool
    default     = false
    description = "Share the pod's PID namespace, so that topz and metrics include it. Other tasks can then list and may signal it too."
  }

  locals {
    # In rsyslog's strings in single quotes, only the backslash is special.
    pattern = replace(param.pattern, "\\", "\\\\")
    start   = replace(coalesce(param.start, "-"), "\\", "\\\\")
  }

  api {
    directory "alloc" {
      access      = "read"
      description = "The log file."
    }
  }

  task "log-adapter" {
    driver = "pod"

    lifecycle {
      hook    = "prestart"
      sidecar = true
    }

    config {
      image = param.image
      # Otherwise the image's own entrypoint precedes the command.
      entrypoint = param.image == null ? null : [""]
      command    = param.command
      args       = ["-n", "-i", "NONE", "-f", "/local/rsyslog.conf"]
      share      = param.share_pid ? ["ipc", "uts", "pid"] : null

      # rsyslogd makes it when it watches the file's folder.
      ready {
        file     = "/local/ready"
        interval = "50ms"
        timeout  = "30s"
      }
    }

    template {
      destination = "local/rsyslog.conf"
      data        = <<-EOT
        global(workDirectory="/local" processInternalMessages="on" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
        module(load="imfile" mode="inotify")
        module(load="mmutf8fix")
        template(name="json" type="string" string="%$!all-json-plain%\n")
        template(name="plain" type="string" string="%msg%\n")

        # The position is written when rsyslogd ends and after each 100 messages;
        # after each one it would be a hundred times slower.
        input(type="imfile" file="/alloc/${param.file}" tag="app" ruleset="adapt" addMetadata="off"
          reopenOnTruncate="on" persistStateInterval="100"%{if param.start != null}
          startmsg.regex='${local.start}' readTimeout="2"%{endif})

        ruleset(name="adapt") {
          action(type="mmutf8fix")
          if re_match($msg, '${local.pattern}') then {%{for i, name in param.fields}
            set $!${name} = re_extract($msg, '${local.pattern}', 0, ${i + 1}, '');%{endfor}
          } else {
            set $!unparsed = $msg;
          }
          action(type="omfile" file="/dev/stdout" template="json")
        }

        ruleset(name="own") {
          action(type="omfile" file="/dev/stderr" template="plain")
          action(type="omfile" file="/local/ready" template="plain" fileCreateMode="0644")
        }
        if $programname startswith 'rsyslogd' then {
          call own
          stop
        }
      EOT
    }

    # The group's own restart block may give up and with it end the
    # application.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "2s"
      mode     = "delay"
    }

    resources {
      cpu    = 50
      memory = 32
    }
  }

  example "lines with a level" {
    description = "Three fields of each line become JSON."
    parameters = {
      file    = "data/app.log"
      pattern = "^([^ ]+) \\[([A-Z]+)\\] (.*)$"
      fields  = ["client", "level", "message"]
    }
  }
}
