package driver_test

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/shoenig/test/wait"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// eventLog keeps the events of a world's tasks.
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

// startTalker starts a task whose output somebody else reads, from the FIFO that it
// gives. At the end of the test all is as it was.
func startTalker(t *testing.T, runtime, script string, unreadTimeout time.Duration, events *eventLog, read func(fifo string)) *pod.Container {
	t.Helper()
	w := newWorld(t, runtime)
	fifo := w.path("stdout")
	must.NoError(t, unix.Mkfifo(fifo, 0o600))
	read(fifo)
	config := w.config()
	config.UnreadTimeout, config.Event = unreadTimeout, events.event
	before := w.snapshot(t)
	m := pod.New(config)
	task := w.plainTask(w.Alloc, "talker")
	task.StdoutHostPath, task.Process.Command = fifo, []string{"/bin/sh", "-c", script}
	c, err := m.Start(t.Context(), task)
	must.NoError(t, err)
	t.Cleanup(func() {
		must.NoError(t, c.Destroy(context.Background(), true))
		w.awaitEnd(w.Alloc, func() bool { return false })
		must.NoError(t, m.Close()) // which has a copy of the runtime open
		must.NoError(t, w.scope().Settle(context.Background(), before))
	})
	return c
}

// Trap D3: if Nomad's collector dies, the task blocks for a limited time only: then its output is
// dropped, with an event.
func TestLogs_NomadCollectorKilled(t *testing.T) {
	withOneRuntime(t, func(t *testing.T, runtime string) {
		var events eventLog
		c := startTalker(t, runtime, "head -c 1000000 /dev/zero; exit 7", 40*time.Millisecond, &events, func(string) {})
		select {
		case <-c.Done():
		case <-time.After(maxWait):
			t.Fatal("the task waits for ever")
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
	withOneRuntime(t, func(t *testing.T, runtime string) {
		var events eventLog
		var reader *os.File
		startTalker(t, runtime, "head -c 1000000 /dev/zero; exec sleep infinity", time.Millisecond, &events, func(fifo string) {
			fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0) // it waits for no writer
			must.NoError(t, err)
			must.NoError(t, unix.SetNonblock(fd, false))
			reader = os.NewFile(uintptr(fd), fifo)
			t.Cleanup(func() { must.NoError(t, reader.Close()) })
		})
		<-time.After(100 * time.Millisecond) // a task without a reader would not have to wait so long
		total, err := io.CopyN(io.Discard, reader, 1_000_000)
		must.NoError(t, err)
		must.Eq(t, 1_000_000, total)
		must.Eq(t, "", events.String())
	})
}
