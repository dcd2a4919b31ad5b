package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/guide"
)

// TestLogIndex_SyslogNG follows the log index with the guide's configuration of syslog-ng. Each
// line arrives once, with the job's identity, while files rotate and syslog-ng, the
// collector, the plugin and the agent are killed or restarted. When Nomad removes the allocation,
// its entry is removed.
func TestLogIndex_SyslogNG(t *testing.T) {
	index := filepath.Join(t.TempDir(), "index")
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		const job, step = "team/paced_1", 60_000 // lines; a file of 1 MiB has about 95,000
		s := newSyslogNG(c, index)
		s.start()
		alloc := c.run(testdata(c.t, "paced.nomad.hcl", `job "paced"`, `job "`+job+`"`), api.AllocClientStatusRunning)
		upto := 0
		for _, disturb := range []func(){
			func() {},
			func() { must.NoError(c.t, c.KillCollector()) },
			func() { s.stop(); s.start() },
			func() { must.NoError(c.t, c.KillPlugin()) },
			func() {
				must.NoError(c.t, c.Kill(c.ctx))
				must.NoError(c.t, c.Launch(c.ctx))
			},
		} {
			upto += step
			disturb()
			c.writeUpTo(alloc, upto)
		}
		s.checkLines(alloc, job, upto)
		indexed := filepath.Join(index, "default_team%2Fpaced%5F1_paced_"+alloc.ID, "paced", "stdout.")
		c.checkFiles(indexed, upto)
		c.checkFiles(filepath.Join(c.SharedDir(alloc.ID), "logs", "paced.stdout."), upto)

		_, _, err := c.Client().Jobs().Deregister(job, true, nil)
		must.NoError(c.t, err)
		c.eventually("the entry is removed", func() error {
			if err := c.Client().System().GarbageCollect(); err != nil {
				return err
			}
			left, err := os.ReadDir(index)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%s is left", left[0].Name())
			}
			return err
		})
	}, func(o *agent.Options) { o.PluginConfig += fmt.Sprintf("log_index = %q\n", index) })
}

// checkFiles checks that the files PREFIX0, PREFIX1 and so on have n lines.
func (c *cluster) checkFiles(prefix string, n int) {
	c.t.Helper()
	var all strings.Builder
	files := 0
	for ; ; files++ {
		text, err := os.ReadFile(fmt.Sprint(prefix, files))
		if os.IsNotExist(err) {
			break
		}
		must.NoError(c.t, err)
		all.Write(text)
	}
	must.Greater(c.t, 2, files)
	count := 0
	for line := range strings.Lines(all.String()) {
		count++
		must.Eq(c.t, fmt.Sprintf("line %d\n", count), line)
	}
	must.Eq(c.t, n, count)
}

// syslogNG is a syslog-ng with the configuration of docs/logs.md.
type syslogNG struct {
	c    *cluster
	dir  string
	root string // of the extracted packages; empty if it is installed
	cmd  *exec.Cmd
}

func newSyslogNG(c *cluster, index string) *syslogNG {
	c.t.Helper()
	s := &syslogNG{c: c, dir: c.t.TempDir()}
	if _, err := exec.LookPath("syslog-ng"); err != nil {
		s.root = filepath.Dir(filepath.Dir(filepath.Dir(program(c.t, "syslog-ng/usr/sbin/syslog-ng"))))
	}
	text, err := os.ReadFile(repository + "/docs/logs.md")
	must.NoError(c.t, err)
	config, ok := guide.File(string(text), "pods.conf")
	must.True(c.t, ok)
	config = strings.NewReplacer("/var/log/nomad-pods", index, "/var/log/pods.json", s.output()).Replace(config)
	must.NoError(c.t, os.WriteFile(s.path("syslog-ng.conf"), []byte("@version: 3.38\n"+config), 0o600))
	return s
}

func (s *syslogNG) path(name string) string { return filepath.Join(s.dir, name) }

func (s *syslogNG) output() string { return s.path("pods.json") }

// start starts syslog-ng, and stops it at the end of the test.
func (s *syslogNG) start() {
	s.c.t.Helper()
	args := []string{
		"--foreground", "--no-caps", "--stderr", "--cfgfile", s.path("syslog-ng.conf"),
		"--persist-file", s.path("persist"), "--control", s.path("control"), "--pidfile", s.path("pid"),
	}
	s.cmd = exec.CommandContext(s.c.ctx, "syslog-ng", args...)
	if s.root != "" {
		modules, err := filepath.Glob(filepath.Join(s.root, "usr/lib/syslog-ng/[0-9]*"))
		must.NoError(s.c.t, err)
		must.Len(s.c.t, 1, modules)
		libraries := []string{filepath.Join(s.root, "usr/lib/syslog-ng")}
		for _, dir := range []string{"usr/lib", "lib"} {
			found, err := filepath.Glob(filepath.Join(s.root, dir, "*-linux-gnu"))
			must.NoError(s.c.t, err)
			libraries = append(libraries, found...)
		}
		args = append(args, "--module-path", modules[0])
		s.cmd = exec.CommandContext(s.c.ctx, filepath.Join(s.root, "usr/sbin/syslog-ng"), args...)
		s.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	}
	s.cmd.Dir = s.dir
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must.NoError(s.c.t, err)
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must.NoError(s.c.t, s.cmd.Start())
	cmd := s.cmd
	s.c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have been stopped
		_ = cmd.Wait()
	})
}

// stop ends syslog-ng, which then saves its positions.
func (s *syslogNG) stop() {
	s.c.t.Helper()
	must.NoError(s.c.t, s.cmd.Process.Signal(syscall.SIGTERM))
	must.NoError(s.c.t, s.cmd.Wait())
}

// checkLines waits for a number of lines, and checks that each is there once. syslog-ng reads
// rotated files concurrently.
func (s *syslogNG) checkLines(alloc *api.Allocation, job string, n int) {
	s.c.t.Helper()
	var text []byte
	s.c.eventually("syslog-ng has every line", func() (err error) {
		if text, err = os.ReadFile(s.output()); err == nil && bytes.Count(text, []byte("\n")) < n {
			log, _ := os.ReadFile(s.path("log"))
			err = fmt.Errorf("%d of %d lines: %s", bytes.Count(text, []byte("\n")), n, log)
		}
		return err
	})
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var got map[string]string
		must.NoError(s.c.t, json.Unmarshal([]byte(line), &got))
		message := got["message"]
		must.False(s.c.t, seen[message], must.Sprint(message))
		seen[message] = true
		must.Eq(s.c.t, map[string]string{
			"namespace": s.c.Namespace(), "job": job, "group": "paced", "task": "paced", "alloc_id": alloc.ID,
			"stream": "stdout", "message": message,
		}, got)
	}
	for i := range n {
		must.True(s.c.t, seen[fmt.Sprint("line ", i+1)], must.Sprint(i+1))
	}
	must.MapLen(s.c.t, n, seen)
}
