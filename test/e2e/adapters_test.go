package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// adapted is a pod with redis and all adapters.
type adapted struct {
	*cluster
	alloc *api.Allocation
}

// TestAdapters runs the exporter, the health endpoint and the log adapter beside one application,
// and ends its processes.
//
// Traps C7, C8 and C9: unmatched lines, servers that end, and passwords.
func TestAdapters(t *testing.T) {
	debian(t, "/usr/sbin/haproxy", "/usr/bin/redis-server", "/usr/sbin/rsyslogd", "/usr/bin/prometheus-redis-exporter")
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		_, _, err := c.Client().Variables().Update(&api.Variable{
			Path: "nomad/jobs/adapters", Items: api.VariableItems{"password": shardPassword},
		}, nil)
		must.NoError(c.t, err)
		s := &adapted{c, c.runAll(inject(c.t, "testdata/adapters.nomad.hcl"))}
		testHealthAdapter(s)
		testLogAdapter(s)
		testExporter(s)

		_, _, err = c.Client().Jobs().Deregister("adapters", false, nil)
		must.NoError(c.t, err)
		ended := c.waitAlloc(s.alloc.ID, api.AllocClientStatusComplete)
		for name, state := range ended.TaskStates {
			must.False(c.t, state.Failed, must.Sprint(name))
		}
	})
}

// write replaces a file below the alloc directory.
func (s *adapted) write(name, text string) {
	s.t.Helper()
	must.NoError(s.t, os.WriteFile(filepath.Join(s.SharedDir(s.alloc.ID), name), []byte(text), 0o644))
}

// awaitHealth waits for the status of the health endpoint.
func (s *adapted) awaitHealth(want int) {
	s.t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d/healthz", port(s.t, s.alloc, "health"))
	s.eventually(fmt.Sprint("health is ", want), func() error {
		if status, body, _ := s.send(http.DefaultClient, http.MethodGet, url); status != want {
			return fmt.Errorf("status is %d: %s", status, body)
		}
		return nil
	})
}

func testHealthAdapter(s *adapted) {
	s.awaitHealth(http.StatusServiceUnavailable)
	s.write("data/health", "it's $up")
	s.awaitHealth(http.StatusOK)
	s.write("data/health", "down")
	s.awaitHealth(http.StatusServiceUnavailable)
	s.write("data/health", "it's $up")
	must.NoError(s.t, syscall.Kill(s.first(s.alloc, "health-adapter").PID, syscall.SIGKILL))
	s.awaitHealth(http.StatusOK)
}

// testLogAdapter writes lines, rotates the file and kills rsyslogd. It checks that each line arrives
// in order and with its fields, and none twice unless rsyslogd was killed.
func testLogAdapter(s *adapted) {
	written := 0
	lines := func(n int) string {
		var text strings.Builder
		for range n {
			written++
			fmt.Fprintf(&text, "%d [WARN] disk \"a\\b\" {{ is }} \tfull\xff\n", written)
		}
		return text.String()
	}
	s.write("data/app.log", lines(100)+"no number\n")
	s.awaitLines(written, 1)
	path := filepath.Join(s.SharedDir(s.alloc.ID), "data", "app.log")
	must.NoError(s.t, os.Rename(path, path+".1"))
	s.write("data/app.log", lines(100))
	s.awaitLines(written, 1)
	must.NoError(s.t, syscall.Kill(s.first(s.alloc, "log-adapter").PID, syscall.SIGKILL))
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must.NoError(s.t, err)
	_, err = file.WriteString(lines(100))
	must.NoError(s.t, err)
	must.NoError(s.t, file.Close())
	s.awaitLines(written, 1)
}

// awaitLines waits until the adapter has printed lines, parsed or not, and checks each of them.
func (s *adapted) awaitLines(parsed, unparsed int) {
	s.t.Helper()
	type line struct{ Number, Level, Text, Unparsed string }
	s.eventually(fmt.Sprint(parsed, " lines arrive"), func() error {
		out, err := os.ReadFile(filepath.Join(s.SharedDir(s.alloc.ID), "logs", "log-adapter.stdout.0"))
		if err != nil {
			return err
		}
		numbers, others := 0, 0
		for text := range strings.Lines(string(out)) {
			if !strings.HasSuffix(text, "\n") {
				break
			}
			var l line
			must.NoError(s.t, json.Unmarshal([]byte(text), &l), must.Sprint(text))
			if l.Unparsed != "" {
				others++
				continue
			}
			var number int
			_, err := fmt.Sscan(l.Number, &number)
			must.NoError(s.t, err)
			must.LessEq(s.t, numbers+1, number, must.Sprint("after ", numbers))
			numbers = number
			must.Eq(s.t, line{l.Number, "WARN", "disk \"a\\b\" {{ is }} \tfull ", ""}, l)
		}
		if numbers != parsed || others < unparsed {
			return fmt.Errorf("%d lines, and %d others", numbers, others)
		}
		return nil
	})
}

// awaitMetric waits for a line of the exporter's metrics.
func (c *cluster) awaitMetric(alloc *api.Allocation, line string) {
	c.t.Helper()
	at := port(c.t, alloc, "exporter")
	c.eventually(line, func() error {
		text := c.fetch("http", at, "/metrics")
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			return fmt.Errorf("the metrics do not have it")
		}
		return nil
	})
}

// testExporter stops redis while it is scraped.
func testExporter(s *adapted) {
	s.awaitMetric(s.alloc, "redis_up 1")
	services, _, err := s.Client().Services().Get("redis-metrics", nil)
	must.NoError(s.t, err)
	must.SliceLen(s.t, 1, services)
	must.Eq(s.t, port(s.t, s.alloc, "exporter"), services[0].Port)

	before := s.identities(s.alloc, "exporter")
	must.NoError(s.t, syscall.Kill(s.first(s.alloc, "redis").PID, syscall.SIGKILL))
	s.awaitMetric(s.alloc, "redis_up 0")
	s.awaitMetric(s.alloc, "redis_up 1")
	must.Eq(s.t, before, s.identities(s.alloc, "exporter"))
	must.StrNotContains(s.t, s.exec(s.alloc, "exporter", "cat", "/proc/1/cmdline"), "p\"w")
}

// TestExporter_Kinds runs the other exporters of Debian, those of databases without their server.
//
// Trap C8: nginx answers only after the exporter has started.
func TestExporter_Kinds(t *testing.T) {
	t.Parallel()
	metrics := map[string]string{"nginx": "nginx_up 1", "postgres": "pg_up 0", "mysqld": "mysql_up 0"}
	for kind, metric := range metrics {
		t.Run(kind, func(t *testing.T) {
			debian(t, "/usr/bin/prometheus-"+kind+"-exporter", "/usr/sbin/nginx")
			onSharedAgent(t, matrix.One(), func(c *cluster) {
				if kind == "mysqld" {
					_, _, err := c.Client().Variables().Update(&api.Variable{
						Path: "nomad/jobs/exporter", Items: api.VariableItems{"password": shardPassword},
					}, nil)
					must.NoError(c.t, err)
				}
				job := testdata(c.t, "exporter.nomad.hcl", "KIND", kind)
				alloc := c.runAll(injectText(c.t, job))
				c.awaitMetric(alloc, metric)
				must.Zero(c.t, c.restarts(alloc, "exporter"))
				c.stop("exporter", alloc)
			})
		})
	}
}
