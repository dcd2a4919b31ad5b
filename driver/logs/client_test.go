package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/freeze"
)

// locked returns an error if the collector that is about to exit no longer holds its lock. Its streams
// still write, and the next collector would write in the same place.
func locked() error {
	lock, err := os.Open(filepath.Join(os.Args[1], "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return errors.Join(errors.New("the lock is free before the end"), err)
	}
	return nil
}

func TestMain(m *testing.M) {
	if Reexec(locked) {
		return
	}
	os.Exit(m.Run())
}

// node is a client and tasks, as a driver has on a node.
type node struct {
	t   *testing.T
	cfg Config
	dir string

	mu   sync.Mutex
	pids []int
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, dir: dir}
	n.cfg = Config{
		Dir: filepath.Join(dir, "logs"), Tasks: filepath.Join(dir, "tasks", "*"),
		Place:  func(pid int) error { n.mu.Lock(); defer n.mu.Unlock(); n.pids = append(n.pids, pid); return nil },
		Broken: func(err error) { t.Errorf("broken: %v", err) },
	}
	t.Cleanup(func() {
		for _, pid := range n.started() {
			n.eventually("the collector to end", func() bool { return unix.Kill(pid, 0) != nil })
		}
	})
	return n
}

func (n *node) started() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]int(nil), n.pids...)
}

func (n *node) client() *Client {
	c := NewClient(n.cfg)
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n *node) eventually(what string, done func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(testPatience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// task creates the directories of a task, and opens its FIFO as a task does.
func (n *node) task(name string) (dir, logDir string, w *os.File) {
	n.t.Helper()
	dir, logDir = filepath.Join(n.dir, "tasks", name), filepath.Join(n.dir, "alloc", name, "logs")
	must.NoError(n.t, os.MkdirAll(dir, 0o700))
	must.NoError(n.t, os.MkdirAll(logDir, 0o755))
	must.NoError(n.t, WriteSpec(dir, Spec{
		AllocDir: filepath.Join(n.dir, "alloc"), Dir: filepath.Join(name, "logs"), MaxFiles: 1000, MaxBytes: 1 << 20,
		Streams: []Stream{{"stdout", name + ".stdout"}, {"stderr", name + ".stderr"}},
	}))
	for _, fifo := range []string{"stdout", "stderr"} {
		must.NoError(n.t, unix.Mkfifo(filepath.Join(dir, fifo), 0o600))
	}
	// Open for reading too, so that the open does not block and writes do not fail.
	fd, err := unix.Open(filepath.Join(dir, "stdout"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	must.NoError(n.t, err)
	return dir, logDir, os.NewFile(uintptr(fd), "stdout")
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), testPatience)
	t.Cleanup(cancel)
	return c
}

func TestClient_AttachAndDrain(t *testing.T) {
	n := newNode(t)
	c := n.client()
	dir, logDir, w := n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	for _, file := range []string{"web.stdout.0", "web.stderr.0"} {
		must.FileExists(t, filepath.Join(logDir, file), must.Sprint("before the first output"))
	}
	_, err = w.WriteString("hello\n")
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, c.Drain(ctx(t), dir))
	must.NoError(t, h.Close())
	_, contents := read(t, logDir, "web.stdout")
	must.Eq(t, []string{"hello\n"}, contents)
	must.NoError(t, c.Drain(ctx(t), dir), must.Sprint("second call"))
	must.Len(t, 1, n.started())
}

// Trap D3: killing the collector and the process that started it, in turn and at any time, neither
// loses nor duplicates a line.
func TestCollector_CrashKeepsEveryLine(t *testing.T) {
	const tasks, kills = 5, 15
	n := newNode(t)
	c := n.client()
	over := make(chan struct{})
	var writers sync.WaitGroup
	holders, printed := make([]*HeldFIFOs, tasks), make([]int, tasks)
	for i := range tasks {
		dir, _, w := n.task(fmt.Sprint("t", i))
		h, err := c.Attach(ctx(t), dir)
		must.NoError(t, err)
		holders[i] = h
		writers.Go(func() {
			defer func() { must.NoError(t, w.Close()) }()
			for {
				select {
				case <-over:
					return
				default:
				}
				printed[i]++
				_, err := fmt.Fprintln(w, printed[i])
				must.NoError(t, err)
			}
		})
	}
	for kill := range kills {
		pids := n.started()
		_ = unix.Kill(pids[len(pids)-1], unix.SIGKILL) // it may have exited
		if kill%3 == 2 {
			must.NoError(t, c.Close())
			c = n.client()
			must.NoError(t, c.Start(ctx(t)))
		}
		n.eventually("the next collector", func() bool { return len(n.started()) > len(pids) })
	}
	close(over)
	writers.Wait()
	for i, h := range holders {
		name := fmt.Sprint("t", i)
		must.NoError(t, c.Drain(ctx(t), filepath.Join(n.dir, "tasks", name)))
		must.NoError(t, h.Close())
		_, contents := read(t, filepath.Join(n.dir, "alloc", name, "logs"), name+".stdout")
		got := strings.Fields(strings.Join(contents, ""))
		must.Len(t, printed[i], got)
		for k, line := range got {
			must.Eq(t, strconv.Itoa(k+1), line)
		}
	}
}

// Output that no process has read yet is not lost when the task ends.
func TestClient_DrainAfterCrash(t *testing.T) {
	n := newNode(t)
	c := n.client()
	dir, logDir, w := n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	pid := n.started()[0]
	freeze.Process(t, pid)
	_, err = w.WriteString("last words\n")
	must.NoError(t, err)
	must.NoError(t, w.Close())
	must.NoError(t, unix.Kill(pid, unix.SIGKILL))
	must.NoError(t, c.Drain(ctx(t), dir))
	must.NoError(t, h.Close())
	_, contents := read(t, logDir, "web.stdout")
	must.Eq(t, []string{"last words\n"}, contents)
}

// A collector continues without the process that started it as long as there are tasks, and then
// exits.
func TestCollector_EndsWhenUnused(t *testing.T) {
	n := newNode(t)
	c := n.client()
	dir, logDir, w := n.task("web")
	h, err := c.Attach(ctx(t), dir)
	must.NoError(t, err)
	must.NoError(t, c.Close())
	must.NoError(t, h.Close())
	_, err = w.WriteString("alone\n")
	must.NoError(t, err)
	n.eventually("the line", func() bool {
		_, contents := read(t, logDir, "web.stdout")
		return strings.Join(contents, "") == "alone\n"
	})
	c = n.client()
	must.NoError(t, w.Close())
	must.NoError(t, c.Drain(ctx(t), dir))
	must.Len(t, 1, n.started(), must.Sprint("collectors started"))
	must.NoError(t, c.Close())
}

// A full disk blocks only the task whose log it contains, for a limited time.
func TestStream_DiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small tmpfs")
	}
	small := t.TempDir()
	must.NoError(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=256k"))
	defer func() { must.NoError(t, unix.Unmount(small, 0)) }()
	o := newOutlet(t, small, 10, 10<<20)
	fine := newOutlet(t, t.TempDir(), 10, 10<<20)
	o.write(lines(1, 25_000)) // 264 KB; the remainder stays in the pipe
	events := <-o.events
	must.StrContains(t, events, "no space left on device")
	fine.write("not concerned\n")
	_, contents := fine.end()
	must.Eq(t, []string{"not concerned\n"}, contents)

	// The disk has space again before the timeout, so nothing is lost.
	must.NoError(t, unix.Mount("", small, "", unix.MS_REMOUNT, "size=10m"))
	_, contents = o.end()
	must.Eq(t, lines(1, 25_000), strings.Join(contents, ""))
	must.StrContains(t, <-o.events, "; 0 bytes of output were dropped")
}

func TestSpec_Invalid(t *testing.T) {
	good := Spec{AllocDir: "/alloc", Dir: "alloc/logs", MaxFiles: 1, MaxBytes: 1, Streams: []Stream{{"stdout", "web.stdout"}}}
	for name, change := range map[string]func(*Spec){
		"relative": func(s *Spec) { s.AllocDir = "alloc" },
		"escapes":  func(s *Spec) { s.Dir = "../logs" },
		"files":    func(s *Spec) { s.MaxFiles = 0 },
		"bytes":    func(s *Spec) { s.MaxBytes = 0 },
		"fifo":     func(s *Spec) { s.Streams = []Stream{{"../stdout", "web.stdout"}} },
		"base":     func(s *Spec) { s.Streams = []Stream{{"stdout", "a/b"}} },
	} {
		s := good
		change(&s)
		must.Error(t, WriteSpec(t.TempDir(), s), must.Sprint(name))
	}
	dir := t.TempDir()
	must.NoError(t, WriteSpec(dir, good))
	must.NoError(t, os.WriteFile(filepath.Join(dir, SpecFile), []byte(`{"version": 99}`), 0o600))
	_, err := readSpec(filepath.Join(dir, SpecFile))
	must.ErrorContains(t, err, "unsupported version 99")
}

// A directory that was replaced by a symlink, or that is outside of the allocation's directory,
// is not written to.
// Trap D5.
func TestCollector_DirectoryIsSymlink(t *testing.T) {
	n := newNode(t)
	c := n.client()
	for name, to := range map[string]string{"outside": t.TempDir(), "inside": "other"} {
		dir, logDir, w := n.task(name)
		defer w.Close()
		must.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(logDir), "other"), 0o755))
		must.NoError(t, os.Remove(logDir))
		must.NoError(t, os.Symlink(to, logDir))
		_, err := c.Attach(ctx(t), dir)
		must.ErrorContains(t, err, "without following links", must.Sprint(name))
	}
	_, err := openBeneath(filepath.Join(n.dir, "alloc"), "../tasks")
	must.ErrorIs(t, err, unix.EXDEV)
}

// A symlink in place of a FIFO is not opened by the collector or the client.
// Trap D4.
func TestCollector_PipeIsSymlink(t *testing.T) {
	dir, _, w := newNode(t).task("web")
	defer w.Close()
	path := filepath.Join(dir, "stdout")
	must.NoError(t, os.Rename(path, path+".moved"))
	must.NoError(t, os.Symlink(path+".moved", path))
	_, err := holdFIFOs(dir)
	must.ErrorIs(t, err, unix.ELOOP)
	_, err = openFIFO(path)
	must.ErrorIs(t, err, unix.ELOOP)
}

// Trap D20: the collector does not inherit the plugin's environment.
func TestCollector_EmptyEnvironment(t *testing.T) {
	t.Setenv("OF_THE_PLUGIN", "evil")
	n := newNode(t)
	must.NoError(t, n.client().Start(ctx(t)))
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n.started()[0]))
	must.NoError(t, err)
	must.Eq(t, "", string(env))
}
