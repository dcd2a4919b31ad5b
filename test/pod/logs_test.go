package pod_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/leakcheck"
)

// eventLog records the events of tasks.
type eventLog struct {
	mu  sync.Mutex
	all []string
}

func (h *eventLog) event(_, _, _, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, message)
}

func (h *eventLog) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.all, "\n")
}

// startWriter starts a task with a FIFO as its output, which is first passed to read. After the
// test, it destroys the task and checks for leaks.
func startWriter(t *testing.T, runtime, script string, unreadTimeout time.Duration, events *eventLog, read func(fifo string)) *pod.Container {
	t.Helper()
	e := newPodEnv(t, runtime)
	fifo := e.path("stdout")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	read(fifo)
	config := e.config()
	config.UnreadTimeout, config.Event = unreadTimeout, events.event
	before := e.snapshot(t)
	m := pod.New(config)
	task := e.plainTask(e.Alloc, "talker")
	task.StdoutHostPath, task.Process.Command = fifo, []string{"/bin/sh", "-c", script}
	c, err := m.Start(t.Context(), task)
	must.NoError(t, err)
	t.Cleanup(func() {
		must.NoError(t, c.Destroy(context.Background(), true))
		e.awaitEnd(e.Alloc, func() bool { return false })
		must.NoError(t, m.Close()) // closes its sealed copy of the runtime
		must.NoError(t, e.scope().Settle(context.Background(), before))
	})
	return c
}

// Trap D3: if Nomad's collector dies, the task blocks for a limited time only: then its output is
// dropped, with an event.
func TestLogs_NomadCollectorKilled(t *testing.T) {
	matrix.WithOne(t, func(t *testing.T, runtime string) {
		var events eventLog
		c := startWriter(t, runtime, "head -c 1000000 /dev/zero; exit 7", 40*time.Millisecond, &events, func(string) {})
		select {
		case <-c.Done():
		case <-time.After(maxWait):
			t.Fatal("task is still blocked")
		}
		exit, _ := c.Exit()
		must.Eq(t, 7, exit.Code)
		must.StrContains(t, events.String(), "stdout is full")
		must.Wait(t, wait.InitialSuccess(wait.BoolFunc(func() bool {
			return strings.Contains(events.String(), "bytes of stdout were dropped")
		}), wait.Timeout(maxWait), wait.Gap(time.Millisecond)))
	})
}

// Trap D3: a slow collector still gets every byte.
func TestLogs_SlowCollector(t *testing.T) {
	matrix.WithOne(t, func(t *testing.T, runtime string) {
		var events eventLog
		var reader *os.File
		startWriter(t, runtime, "head -c 1000000 /dev/zero; exec sleep infinity", time.Millisecond, &events, func(fifo string) {
			fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0) // does not wait for a writer
			must.NoError(t, err)
			must.NoError(t, unix.SetNonblock(fd, false))
			reader = os.NewFile(uintptr(fd), fifo)
			t.Cleanup(func() { must.NoError(t, reader.Close()) })
		})
		<-time.After(100 * time.Millisecond) // longer than the timeout without a reader
		total, err := io.CopyN(io.Discard, reader, 1_000_000)
		must.NoError(t, err)
		must.Eq(t, 1_000_000, total)
		must.Eq(t, "", events.String())
	})
}

// Trap D2: the end of the task does not wait for the drain timeout, since no process can hold the
// pipe open after all of them were killed.
func TestExit_OpenOutputPipe(t *testing.T) {
	matrix.WithBoth(t, func(t *testing.T, runtime string) {
		leakcheck.Check(t, leakcheck.Driver())
		e := newPodEnv(t, runtime)
		var log bytes.Buffer
		config := e.config()
		config.Log = hclog.New(&hclog.LoggerOptions{Output: &log})
		m := pod.New(config)
		task := e.plainTask(e.Alloc, "app")
		task.Logs = &pod.Logs{AllocDirHostPath: e.path("alloc"), Dir: "logs", MaxFiles: 1, MaxFileBytes: 1 << 20}
		task.Process.Command = []string{"/bin/sh", "-c", "(setsid sleep 123456 &); exit 4"}
		c, err := m.Start(t.Context(), task)
		must.NoError(t, err)
		<-c.Done()
		exit, _ := c.Exit()
		must.Eq(t, 4, exit.Code)
		must.NoError(t, c.Destroy(t.Context(), false))
		e.awaitEnd(e.Alloc, func() bool { return false })
		must.NoError(t, m.Close())
		must.Eq(t, "", log.String())
	})
}
