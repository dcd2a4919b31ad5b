// Package pod manages pods: the containers of one allocation, which share
// namespaces and directories.
//
// A Manager creates a pod when its first task starts, runs containers in it with
// an OCI runtime and conmon, and removes it some time after its last task has
// ended. Everything needed after a crash is on disk, and a failed start is rolled
// back.
//
// The package is independent of Nomad: it does not read Nomad's configuration,
// speak its protocol, check a task's rights, or create networks.
package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// Config configures a Manager. All paths are absolute.
type Config struct {
	RunDir  string // state, lost on reboot
	DataDir string // images and writable roots of tasks
	Runtime ociruntime.Runtime
	// Gvisor is the runtime of tasks with Gvisor; nil if there is none.
	Gvisor  *ociruntime.Runtime
	Monitor ociruntime.Monitor
	// Init is a statically linked program that runs as PID 1 with "-P", sleeps
	// forever and reaps orphans: catatonit.
	Init      string
	Cgroups   cgroup.Version
	AppArmor  string // AppArmor profile of infra processes; empty: none
	HostPaths []HostPath
	Images    image.Config
	// IDs is the pool of ids for pods with Task.Userns. New sets its directory.
	IDs userns.Pool
	// SharedMemoryMax is the maximum size in bytes of a pod's memory that outlives its
	// tasks. Zero means DefaultSharedMemoryMax.
	SharedMemoryMax int64
	// Linger is how long a pod without tasks is kept.
	Linger time.Duration
	// ImageGCDelay is how long an unused image is kept. Zero means forever.
	ImageGCDelay time.Duration
	// DanglingAfter is how long tasks of an earlier manager may remain unrecovered
	// before they are removed. Zero means forever.
	DanglingAfter time.Duration
	// UnreadTimeout is how long a task may be blocked because Nomad's log collector does
	// not read its output. After that its output is dropped. Zero means forever.
	UnreadTimeout time.Duration
	// CreateTimeout bounds how long the OCI runtime may take to create and start a
	// container, which takes milliseconds on a healthy host. Zero means one minute.
	CreateTimeout time.Duration
	// TeardownTimeout bounds the cleanup after a failure or an exit, which runs even
	// if the caller has stopped waiting. Zero means 30 seconds.
	TeardownTimeout time.Duration
	// Event reports an event of a task to its author. It must not block.
	Event func(taskID, allocID, name, message string)
	// Trace reports the phases of a successful start. It must not block. It may be
	// nil.
	Trace func(taskID string, phases []Phase)
	// Observer may be nil.
	Observer Observer
	Log      hclog.Logger
	// Before is called before each checkpoint of a start, stop, removal, recovery and
	// sweep. An error fails the checkpoint. It is used by tests, which fail or crash
	// at each checkpoint, and may be nil.
	Before func(checkpoint string) error
}

// Manager manages the pods of one state directory. A directory must have only one
// manager at a time.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	pods   map[string]*pod       // by allocation ID
	tasks  map[string]*Container // by task ID
	closed bool
	debugs int // debug containers of all tasks

	closing chan struct{} // closed by Close

	infra  sync.Mutex   // held while the infra program is copied
	parent sync.RWMutex // read-locked while a runtime creates a group below cgroupParent

	storeMu sync.Mutex
	store   *image.Store // opened on first use

	logs    *logs.Client
	unread  struct{ stalls, dropped atomic.Int64 } // of tasks without a reader, see pipe
	filters *filters
	limiter *limiter
	layers  layers

	liveness *liveness
	moves    cgroup.Moves

	sweep      sync.Once
	indexSweep sync.Mutex // held during a sweep of the log index
	dangling   *time.Timer
	collect    *time.Timer // pending image collection; guarded by mu
	imageUsage atomic.Pointer[image.Usage]
	background sync.WaitGroup // watchers and expiring pods
}

// New returns a manager. It does no I/O until the first task.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Event == nil {
		cfg.Event = func(_, _, _, _ string) {}
	}
	if cfg.Trace == nil {
		cfg.Trace = func(string, []Phase) {}
	}
	if cfg.Observer == nil {
		cfg.Observer = noObserver{}
	}
	cfg.SharedMemoryMax = cmp.Or(cfg.SharedMemoryMax, DefaultSharedMemoryMax)
	cfg.CreateTimeout = cmp.Or(cfg.CreateTimeout, time.Minute)
	cfg.TeardownTimeout = cmp.Or(cfg.TeardownTimeout, 30*time.Second)
	cfg.IDs.Dir = filepath.Join(cfg.RunDir, IDsDir)
	cfg.Images.Before, cfg.Monitor.Before = cfg.Before, cfg.Before
	cfg.Runtime.Sealed = ociruntime.NewSealed(cfg.Runtime.Path, filepath.Join(cfg.RunDir, "sealed"))
	m := &Manager{
		cfg: cfg, pods: map[string]*pod{}, tasks: map[string]*Container{}, closing: make(chan struct{}),
		filters: newFilters(cfg.Runtime), limiter: newLimiter(cfg.CreateTimeout),
	}
	m.logs, m.liveness = m.newLogs(), newLiveness(m)
	m.cfg.Images.Removed = m.imageRemoved
	m.layers = layers{m: m, dir: filepath.Join(cfg.RunDir, "skeletons")}
	return m
}

// expectPeriod is the time within which a start follows Expect. Nomad usually needs only a
// fraction of it if it fetches nothing for the task.
const expectPeriod = 250 * time.Millisecond

// Expect announces that a task is likely to start soon.
func (m *Manager) Expect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.background.Go(func() {
		defer m.moves.Expect()()
		select {
		case <-time.After(expectPeriod):
		case <-m.closing:
		}
	})
}

// Close stops watching tasks and waits for the watchers. Tasks continue to run;
// another manager can recover them.
func (m *Manager) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.closing)
	}
	var errs []error
	for _, c := range m.tasks {
		errs = append(errs, c.interrupt())
	}
	for _, p := range m.pods {
		if p.end != nil && p.end.Stop() {
			m.background.Done()
		}
	}
	for _, timer := range []*time.Timer{m.dangling, m.collect} {
		if timer != nil && timer.Stop() {
			m.background.Done()
		}
	}
	m.mu.Unlock()
	m.background.Wait()
	for _, c := range m.tasks {
		errs = append(errs, c.output.Close())
	}
	errs = append(errs, m.logs.Close(), m.cfg.Runtime.Sealed.Close())
	m.storeMu.Lock()
	defer m.storeMu.Unlock()
	if m.store != nil {
		errs = append(errs, m.store.Close())
	}
	return errors.Join(errs...)
}

// Get returns a task that was started or recovered by this manager.
func (m *Manager) Get(taskID string) (*Container, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.tasks[taskID]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("task %s: %w", taskID, ErrNotFound)
}

func (m *Manager) podsDir() string { return filepath.Join(m.cfg.RunDir, "pods") }

func (m *Manager) rootsDir() string { return filepath.Join(m.cfg.DataDir, "roots") }

// enter adds a task to its pod, so that the pod is kept.
func (m *Manager) enter(allocID string) *pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.find(allocID)
	if p == nil {
		p = &pod{m: m, allocID: allocID, dir: filepath.Join(m.podsDir(), allocID)}
		m.pods[allocID] = p
	}
	if p.end != nil && p.end.Stop() {
		m.background.Done()
	}
	p.end = nil
	p.tasks++
	return p
}

// find returns the pod of an allocation. If the pod is being removed, find waits for
// the removal to finish, so that the task does not join a partially removed pod. Starts
// in other pods are not blocked.
func (m *Manager) find(allocID string) *pod {
	for {
		p := m.pods[allocID]
		if p == nil || p.gone == nil {
			return p
		}
		m.mu.Unlock()
		<-p.gone
		m.mu.Lock()
	}
}

// leave undoes enter. When the last task leaves, the pod's linger time starts.
func (m *Manager) leave(p *pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.tasks--; p.tasks > 0 || m.closed {
		return
	}
	m.background.Add(1)
	p.end = time.AfterFunc(m.cfg.Linger, func() {
		defer m.background.Done()
		m.expire(p)
	})
}

// expire removes a pod without tasks.
func (m *Manager) expire(p *pod) {
	m.mu.Lock()
	// A task may have come and gone after the timer fired, and started another timer.
	if p.tasks > 0 || p.gone != nil || m.closed {
		m.mu.Unlock()
		return
	}
	p.gone = make(chan struct{})
	m.mu.Unlock()
	// Tasks of an earlier manager may not be recovered yet.
	if tasks, err := os.ReadDir(p.tasksDir()); err != nil || len(tasks) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
		defer cancel()
		if err := p.remove(ctx); err != nil {
			m.cfg.Log.Error("pod was not removed; the driver retries at its next start", "error", err)
		}
	}
	m.mu.Lock()
	delete(m.pods, p.allocID)
	m.mu.Unlock()
	close(p.gone)
}
