# A server that stops to answer when it finds /alloc/hang, and while it stops.
job "live" {
  group "live" {
    network {
      mode = "bridge"
    }

    restart {
      attempts = 2
      interval = "10m"
      delay    = "1s"
      mode     = "fail"
    }

    task "server" {
      driver       = "pod"
      kill_timeout = "25s"

      config {
        command = "/usr/bin/perl"
        args = ["-MIO::Socket::INET", "-e", <<-END
          unlink "/alloc/hang";
          $SIG{TERM} = sub { sleep 4; exit 7 };
          $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:8080", ReuseAddr => 1) or die;
          while (1) {
            $c = $s->accept or next;
            if (-e "/alloc/hang") { open my $f, ">", "/alloc/asked"; close $f; sleep 1 while 1 }
            <$c>;
            print $c "HTTP/1.0 200 OK\r\n\r\n";
            close $c;
          }
          END
        ]
        kill_timeout = "1s"

        ready { tcp = "127.0.0.1:8080" }

        live {
          http     = "http://127.0.0.1:8080/"
          interval = "1s"
          timeout  = "1s"
          failures = 2
        }
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
