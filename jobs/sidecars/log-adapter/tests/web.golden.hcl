job "web" {
  group "web" {
    network {
      mode = "bridge"
    }
    task "app" {
      driver = "pod"
    }
    #sidecar> added by nomad-sidecar, up to #sidecar<
    task "log-adapter" {
      driver = "pod"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/sbin/rsyslogd"
        args    = ["-n", "-i", "NONE", "-f", "/local/rsyslog.conf"]

        ready {
          file     = "/local/ready"
          interval = "50ms"
          timeout  = "30s"
        }
      }

      template {
        destination = "local/rsyslog.conf"
        data        = <<EOT
global(workDirectory="/local" processInternalMessages="on" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imfile" mode="inotify")
module(load="mmutf8fix")
template(name="json" type="string" string="%$!all-json-plain%\n")
template(name="plain" type="string" string="%msg%\n")

# The position is written when rsyslogd ends and after each 100 messages;
# after each one it would be a hundred times slower.
input(type="imfile" file="/alloc/data/app.log" tag="app" ruleset="adapt" addMetadata="off"
  reopenOnTruncate="on" persistStateInterval="100"
  startmsg.regex='^\\d' readTimeout="2")

ruleset(name="adapt") {
  action(type="mmutf8fix")
  if re_match($msg, '^([^ ]+) \\[([A-Z]+)\\] (.*)$') then {
    set $!client = re_extract($msg, '^([^ ]+) \\[([A-Z]+)\\] (.*)$', 0, 1, '');
    set $!level = re_extract($msg, '^([^ ]+) \\[([A-Z]+)\\] (.*)$', 0, 2, '');
    set $!message = re_extract($msg, '^([^ ]+) \\[([A-Z]+)\\] (.*)$', 0, 3, '');
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
      meta = {
        "sidecar.added"   = "{\"tasks\":[\"log-adapter\"]}"
        "sidecar.digest"  = "sha256:…"
        "sidecar.name"    = "log-adapter"
        "sidecar.origin"  = "flag"
        "sidecar.version" = "1.0.0"
      }
    }
    #sidecar< sha256:…
  }
}
