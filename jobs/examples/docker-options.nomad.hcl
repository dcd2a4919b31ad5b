# A job that was written for the docker driver and uses 27 of its options. The
# pod driver accepts it unchanged; only the driver's name differs:
#
#   nomad job run docker-options.nomad.hcl
#   nomad job run -var driver=docker docker-options.nomad.hcl
#
# The task prints what it sees of its options, and "nomad alloc logs" shows the
# same list with either driver.

variable "driver" {
  type    = string
  default = "pod"
}

job "docker-options" {
  type = "batch"

  group "facts" {
    network {
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    task "facts" {
      driver = var.driver
      user   = "1234:5678"

      config {
        image              = "docker.io/library/debian:12-slim"
        image_pull_timeout = "10m"
        force_pull         = false

        entrypoint = ["/bin/sh", "-eu"]
        command    = "/facts/facts.sh"
        args       = ["one", "two words"]
        work_dir   = "/work/dir"
        init       = true
        group_add  = ["adm", "4321"]

        labels = {
          "com.example.team" = "web"
        }

        volumes = ["local/facts:/facts:ro"]

        mount {
          type     = "bind"
          source   = "local"
          target   = "/input"
          readonly = true
        }

        mount {
          type   = "tmpfs"
          target = "/scratch"

          tmpfs_options {
            size = 1048576
            mode = 1023 # 1777
          }
        }

        devices = [
          {
            host_path          = "/dev/null"
            container_path     = "/dev/own"
            cgroup_permissions = "rw"
          },
        ]

        ulimit {
          nofile = "128:256"
          core   = "0"
        }

        sysctl = {
          "kernel.msgmax" = "4242"
        }

        pids_limit     = 100
        cpu_hard_limit = true
        cpu_cfs_period = 50000
        oom_score_adj  = 500

        cap_drop        = ["all"]
        cap_add         = ["chown", "net_bind_service"]
        readonly_rootfs = true
        security_opt    = ["no-new-privileges"]
        privileged      = false
        userns_mode     = "host"

        extra_hosts = ["db.example:10.1.2.3"]
        ports       = ["http"]
      }

      template {
        destination = "local/facts/facts.sh"

        data = <<-EOF
          status() { grep "^$1:" /proc/1/status | tr -s '\t ' ' '; }
          limit() { grep "^$1" /proc/1/limits | tr -s ' ' | cut -d ' ' -f 4,5; }
          group() { cat "/sys/fs/cgroup/$1" 2>/dev/null || cat "/sys/fs/cgroup/$2"; }

          echo "arguments: $# $2"
          echo "directory: $(pwd)"
          echo "user: $(id -u):$(id -g)"
          echo "groups: $(status Groups)"
          echo "first process: $([ $$ = 1 ] && echo this || echo another)"
          echo "capabilities: $(status CapBnd)"
          echo "privileges: $(status NoNewPrivs)"
          echo "seccomp: $(status Seccomp)"
          echo "root: $(touch /file 2>/dev/null && echo writable || echo read-only)"
          echo "volume: $(touch /facts/x 2>/dev/null && echo writable || echo read-only)"
          echo "bind: $(touch /input/x 2>/dev/null && echo writable || echo read-only) $(ls /input)"
          echo "tmpfs: $(stat -f -c %T /scratch) $(stat -c %a /scratch) $(echo x > /scratch/x && cat /scratch/x)"
          echo "device: $(stat -c %t:%T /dev/own)$(cat /dev/own)"
          echo "open files: $(limit 'Max open files')"
          echo "sysctl: $(cat /proc/sys/kernel/msgmax)"
          echo "processes: $(group pids/pids.max pids.max)"
          echo "period: $(group cpu/cpu.cfs_period_us cpu.max | tr ' ' '\n' | tail -n 1)"
          echo "out of memory: $(cat /proc/1/oom_score_adj)"
          echo "users:$(tr -s ' ' < /proc/self/uid_map)"
          echo "hosts: $(grep db.example /etc/hosts)"
        EOF
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
