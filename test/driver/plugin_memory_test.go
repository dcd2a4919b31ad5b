package driver_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// served is a node whose plugin runs in its own process, as under Nomad.
type served struct {
	*node
	plugin drivers.DriverPlugin
	pid    int
	events chan *drivers.TaskEvent
}

// servePlugin turns this process into the plugin if a served node started it.
func servePlugin() bool {
	if os.Getenv(base.Handshake.MagicCookieKey) == "" {
		return false
	}
	driver.Serve()
	return true
}

func servedNode(t *testing.T, runtime string) *served {
	t.Helper()
	n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.LogCollector = runtime, "pod" })
	log := hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: base.Handshake, Cmd: exec.Command("/proc/self/exe"), Logger: log, Managed: true,
		Plugins:          map[string]plugin.Plugin{base.PluginTypeBase: &base.PluginBase{}, base.PluginTypeDriver: drivers.NewDriverPlugin(nil, log)},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	must.NoError(t, err)
	raw, err := protocol.Dispense(base.PluginTypeDriver)
	must.NoError(t, err)
	s := &served{node: n, plugin: raw.(drivers.DriverPlugin), events: make(chan *drivers.TaskEvent, 1000)}
	s.pid, err = strconv.Atoi(strings.TrimPrefix(client.ID(), "pid:"))
	must.NoError(t, err)
	var config []byte
	must.NoError(t, base.MsgPackEncode(&config, &n.config))
	must.NoError(t, raw.(base.BasePlugin).SetConfig(&base.Config{PluginConfig: config, ApiVersion: drivers.ApiVersion010}))
	events, err := s.plugin.TaskEvents(t.Context())
	must.NoError(t, err)
	go func() { // ends with the plugin
		for e := range events {
			s.events <- e
		}
	}()
	return s
}

// peakMiB returns the peak memory of the plugin.
func (s *served) peakMiB() int {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	must.NoError(s.t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	must.NoError(s.t, err)
	return kib >> 10
}

// hostileHTTP answers each request with an endless response that depends on the path.
func hostileHTTP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, l.Close()) })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	return "http://" + l.Addr().String()
}

func answer(conn net.Conn) {
	defer conn.Close()
	request := make([]byte, 4096)
	n, _ := conn.Read(request)
	_, path, _ := strings.Cut(string(request[:n]), " ")
	path, _, _ = strings.Cut(path, " ")
	begin, rest := "HTTP/1.1 503 ", bytes.Repeat([]byte("x"), 1<<20)
	switch path {
	case "/headers":
		begin, rest = "HTTP/1.1 200 OK\r\n", bytes.Repeat([]byte("A: \x1b[2J\r\n"), 1<<17)
	case "/body":
		begin = "HTTP/1.1 503 \x1b[2J\r\n\r\n"
	case "/redirect":
		begin = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"
	}
	_, err := conn.Write([]byte(begin))
	for err == nil {
		_, err = conn.Write(rest)
	}
}

// flood returns a command with endless output on stdout and stderr.
func flood() []string {
	return []string{"/bin/sh", "-c", "cat /dev/zero >&2 & exec cat /dev/zero"}
}

// TestPluginMemory_EndlessBytes checks that endless output of a task, its checks and a client
// leaves the plugin's memory small, and that calls end in time with short events and errors.
func TestPluginMemory_EndlessBytes(t *testing.T) {
	withRuntimes(t, func(t *testing.T, runtime string) {
		s := servedNode(t, runtime)
		victim := s.newTask("", "victim", sh("exec sleep 600"), withoutCollector)
		preStop := flood()
		config := sh("exec sleep 600")
		config.PreStop = &driver.PreStopConfig{Command: preStop[0], Args: preStop[1:], Timeout: "2s"}
		stopped := s.newTask("", "stopped", config, withoutCollector)
		var refused []*task
		for i, ready := range []*driver.ReadyConfig{{Exec: flood()}, {HTTP: "/status"}, {HTTP: "/headers"}, {HTTP: "/body"}, {HTTP: "/redirect"}} {
			if ready.HTTP != "" {
				ready.HTTP = hostileHTTP(t) + ready.HTTP
			}
			ready.Interval, ready.Timeout = "10ms", "3s"
			config := sh("exec sleep 600")
			config.Ready = ready
			refused = append(refused, s.newTask("", fmt.Sprint("refused", i), config, withoutCollector))
		}
		for _, tk := range []*task{victim, stopped} {
			_, _, err := s.plugin.StartTask(tk.TaskConfig)
			must.NoError(t, err)
		}
		begin := time.Now()
		var all sync.WaitGroup
		for _, tk := range refused {
			all.Go(func() { s.checkStartError(tk) })
		}
		all.Go(func() { s.runChecks(victim) })
		all.Go(func() { s.streamUnread(victim, flood()) })
		all.Go(func() { s.streamUnread(victim, []string{"/bin/sleep", "600"}) })
		all.Go(func() { must.NoError(t, s.plugin.StopTask(stopped.ID, 6*time.Second, "SIGKILL")) })
		all.Wait()
		t.Logf("peak %d MiB after %s", s.peakMiB(), time.Since(begin).Round(time.Second))
		must.Less(t, 300, s.peakMiB())
		must.Less(t, maxWait, time.Since(begin))
		for _, tk := range []*task{victim, stopped} {
			must.NoError(t, s.plugin.DestroyTask(tk.ID, true))
		}
		for len(s.events) > 0 {
			readable(t, (<-s.events).Message)
		}
	})
}

// readable fails the test if a text is long or contains control characters.
func readable(t *testing.T, text string) {
	t.Helper()
	must.LessEq(t, bounds.TextBytes+len("rpc error: code = Unknown desc = "), len(text))
	must.StrNotContains(t, text, "\x1b")
	must.StrNotContains(t, text, "\x00")
}

func (s *served) checkStartError(tk *task) {
	_, _, err := s.plugin.StartTask(tk.TaskConfig)
	if strings.HasSuffix(tk.Name, "4") { // a redirect counts as ready
		must.NoError(s.t, err)
		must.NoError(s.t, s.plugin.DestroyTask(tk.ID, true))
		return
	}
	must.ErrorContains(s.t, err, "did not pass within 3s")
	readable(s.t, err.Error())
}

// runChecks runs commands as a script check does: with endless output, with a child, and with long
// output.
func (s *served) runChecks(tk *task) {
	_, err := s.plugin.ExecTask(tk.ID, flood(), 2*time.Second)
	must.ErrorContains(s.t, err, "deadline exceeded")
	readable(s.t, err.Error())
	_, err = s.plugin.ExecTask(tk.ID, []string{"/bin/sh", "-c", "sleep 984001 & sleep 984001; true"}, time.Second)
	must.ErrorContains(s.t, err, "deadline exceeded")
	s.waitFor("the command and its child to be gone", func() bool { return leakcheck.Running(s.t, "984001") == 0 })
	begin := time.Now()
	// A child that holds the output open: runc waits for it, crun does not.
	_, _ = s.plugin.ExecTask(tk.ID, []string{"/bin/sh", "-c", "sleep 984002 &"}, 2*time.Second)
	must.Less(s.t, 10*time.Second, time.Since(begin))
	res, err := s.plugin.ExecTask(tk.ID, []string{"/bin/sh", "-c", "head -c 300000000 /dev/zero; echo the end; exit 2"}, maxWait)
	must.NoError(s.t, err)
	must.Eq(s.t, 2, res.ExitResult.ExitCode)
	must.Len(s.t, drivers.CheckBufSize, res.Stdout)
	must.StrHasSuffix(s.t, "the end\n", string(res.Stdout))
}

// deafClient is a client that reads no output and sends input without end.
type deafClient struct{ *client }

func (d deafClient) Send(*drivers.ExecTaskStreamingResponseMsg) error {
	<-d.ctx.Done()
	return d.ctx.Err()
}

func (d deafClient) Recv() (*drivers.ExecTaskStreamingRequestMsg, error) {
	return stdin(strings.Repeat("x", 32<<10)), d.ctx.Err()
}

func (s *served) streamUnread(tk *task, command []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	raw := s.plugin.(drivers.ExecTaskStreamingRawDriver)
	must.Error(s.t, raw.ExecTaskStreamingRaw(ctx, tk.ID, command, false, deafClient{newClient(ctx)}))
}
