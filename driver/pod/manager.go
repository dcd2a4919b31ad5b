// Package pod keeps pods: groups of containers of one allocation that share
// namespaces and directories, and live and die as their parts do.
//
// A Manager makes a pod when its first task starts, runs containers in it
// with an OCI runtime and conmon, and removes it when its last task has been
// gone for a while. All it needs to know after a crash is on disk, and every
// failure half-way is undone.
//
// The package does not know Nomad: it neither reads its configuration nor
// speaks its protocol, does not decide what a task is allowed to do, and
// makes no network.
package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/logs"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
)

// Config is what a Manager works with. All paths are absolute.
type Config struct {
	RunDir  string // state, gone after a reboot
	DataDir string // images and the writable roots of tasks
	Runtime ociruntime.Runtime
	Monitor ociruntime.Monitor
	// Init is a statically linked program that as "Init -P" waits for ever
	// and reaps: catatonit.
	Init      string
	Cgroups   cgroup.Version
	AppArmor  string // profile of infra processes; empty: none
	HostPaths []HostPath
	Images    image.Config
	// SharedMemoryMax bounds in bytes the memory of a pod that outlives its
	// tasks. Zero is DefaultSharedMemoryMax.
	SharedMemoryMax int64
	// Linger is how long a pod without tasks is kept.
	Linger time.Duration
	// ImageGCDelay is how long an image that no task uses is kept. Zero is for
	// ever.
	ImageGCDelay time.Duration
	// DanglingAfter is how long tasks of an earlier manager may wait to be
	// recovered before they are taken for forgotten and removed. Zero is for
	// ever.
	DanglingAfter time.Duration
	// UnreadFor is how long a task whose output another collects may wait
	// because its pipe is full and nobody reads it. Then what it prints is
	// dropped. Zero is for ever.
	UnreadFor time.Duration
	// CreateTimeout bounds what the OCI runtime may take to create and start a
	// container: milliseconds on a host that is well. Zero is a minute.
	CreateTimeout time.Duration
	// TeardownTimeout bounds the clean-up after a failure or an end, which
	// happens whether or not the caller still waits. Zero is half a minute.
	TeardownTimeout time.Duration
	// Event is told what a task waits for or what happened to it. It must
	// not block.
	Event func(taskID, allocID, name, message string)
	// Trace is told where the time of a start went that was successful. It
	// must not block. It may be nil.
	Trace func(taskID string, steps []Step)
	Log   hclog.Logger
	// Before is called with the name of each step of a start, a stop, a
	// removal, a recovery and a sweep, before it is taken. An error becomes
	// the step's own. It is for tests, which fail and kill at each, and may
	// be nil.
	Before func(step string) error
}

// Manager keeps the pods of one state directory. There must be one manager
// for a directory at a time.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	pods   map[string]*pod       // by allocation
	tasks  map[string]*Container // by task id
	closed bool
	debugs int // debug containers of all tasks

	closing chan struct{} // closed with it

	infra sync.Mutex // held while the infra process's program is copied

	storeMu sync.Mutex
	store   *image.Store // opened when first used

	logs    *logs.Client
	filters *filters
	places  *places
	layers  layers
	moves   cgroup.Moves

	sweep      sync.Once
	dangling   *time.Timer
	collect    *time.Timer    // of images; guarded by mu
	background sync.WaitGroup // watchers and lingering pods
}

// New returns a manager. It makes nothing and reads nothing: that begins with
// the first task.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Event == nil {
		cfg.Event = func(_, _, _, _ string) {}
	}
	if cfg.Trace == nil {
		cfg.Trace = func(string, []Step) {}
	}
	cfg.SharedMemoryMax = cmp.Or(cfg.SharedMemoryMax, DefaultSharedMemoryMax)
	cfg.CreateTimeout = cmp.Or(cfg.CreateTimeout, time.Minute)
	cfg.TeardownTimeout = cmp.Or(cfg.TeardownTimeout, 30*time.Second)
	cfg.Images.Before, cfg.Monitor.Before = cfg.Before, cfg.Before
	cfg.Runtime.Sealed = ociruntime.NewSealed(cfg.Runtime.Path, filepath.Join(cfg.RunDir, "sealed"))
	m := &Manager{
		cfg: cfg, pods: map[string]*pod{}, tasks: map[string]*Container{}, closing: make(chan struct{}),
		filters: newFilters(cfg.Runtime), places: newPlaces(cfg.CreateTimeout),
	}
	m.logs = m.newLogs()
	m.layers = layers{m: m, dir: filepath.Join(cfg.RunDir, "skeletons")}
	return m
}

// soon is within what time the start of a task follows Expect: Nomad takes a
// small part of it, where nothing is fetched for the task.
const soon = 250 * time.Millisecond

// Expect says that a task is going to be started soon. It is no promise.
func (m *Manager) Expect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.background.Go(func() {
		defer m.moves.Expect()()
		select {
		case <-time.After(soon):
		case <-m.closing:
		}
	})
}

// Close stops watching and waits for the watchers. Tasks go on; another
// manager can recover them.
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

// Get returns a task that was started or recovered.
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

// enter counts a task to its pod, so that the pod stays.
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

// find gives the pod of an allocation, if it is not about to go: a task that
// starts then waits for it to be gone, instead of finding half of it. Other
// pods do not wait.
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

// leave is the opposite of enter. The last one out starts the time after
// which the pod goes.
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

// expire removes a pod if nobody has entered it since.
func (m *Manager) expire(p *pod) {
	m.mu.Lock()
	// A task that came and went while an earlier timer fired has started another one.
	if p.tasks > 0 || p.gone != nil || m.closed {
		m.mu.Unlock()
		return
	}
	p.gone = make(chan struct{})
	m.mu.Unlock()
	// Some that an earlier manager started may not be recovered yet.
	if tasks, err := os.ReadDir(p.tasksDir()); err != nil || len(tasks) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), m.cfg.TeardownTimeout)
		defer cancel()
		if err := p.remove(ctx); err != nil {
			m.cfg.Log.Error("pod was not removed; the next start of the driver tries again", "error", err)
		}
	}
	m.mu.Lock()
	delete(m.pods, p.allocID)
	m.mu.Unlock()
	close(p.gone)
}
