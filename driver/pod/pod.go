package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// pod holds the state shared by the tasks of one allocation. The first task creates
// it; it is removed some time after the last has ended.
type pod struct {
	m       *Manager
	allocID string
	dir     string

	mu    sync.Mutex // held while the pod's parts are created or removed
	tasks int        // started and not destroyed; guarded by m.mu
	end   *time.Timer
	gone  chan struct{} // nil until removal begins; closed when done; guarded by m.mu

	hostname string // of the shared UTS namespace; guarded by mu

	orderMu sync.Mutex
	order   order
}

func (p *pod) stateFile() string        { return filepath.Join(p.dir, "pod.json") }
func (p *pod) namespaceDir() string     { return filepath.Join(p.dir, "ns") }
func (p *pod) ipcFile() string          { return filepath.Join(p.namespaceDir(), string(namespace.IPC)) }
func (p *pod) shmDir() string           { return filepath.Join(p.dir, "shm") }
func (p *pod) infraDir() string         { return filepath.Join(p.dir, "holder") }
func (p *pod) tasksDir() string         { return filepath.Join(p.dir, "tasks") }
func (p *pod) taskDir(id string) string { return filepath.Join(p.tasksDir(), id) }
func (p *pod) infraContainerID() string { return p.allocID + ".pod" }

// cgroup is the parent of the cgroups of the pod's own processes, which belong to
// no task.
func (p *pod) cgroup() cgroup.Group {
	return cgroup.At(p.m.cfg.Cgroups, cgroupParent+"/"+p.allocID)
}

// cgroupParent is the parent of all pods' cgroups.
const cgroupParent = "/nomad-driver-pod"

// join creates the namespaces and volumes that the task shares with its pod. They
// are not rolled back when the task fails to start: they belong to the pod.
func (p *pod) join(ctx context.Context, t *Task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	state, err := p.load(*t)
	if err != nil {
		return err
	}
	if err := p.checkRuntime(*t, state); err != nil {
		return fmt.Errorf("pod %s: %w", p.allocID, err)
	}
	p.hostname = state.Hostname
	if t.users, err = p.joinUsers(*t, state); err != nil {
		return fmt.Errorf("pod %s: %w", p.allocID, err)
	}
	if err := p.setNetworkDefaults(*t, &state); err != nil {
		return fmt.Errorf("pod %s: %w", p.allocID, err)
	}
	return p.makeParts(ctx, *t, &state)
}

// makeParts creates the parts of the pod that the task shares.
func (p *pod) makeParts(ctx context.Context, t Task, state *podState) error {
	current, next, err := p.checkShared(t)
	if err != nil {
		return err
	}
	if t.Share.IPC {
		if err := p.joinIPC(t.users, current, next); err != nil {
			return fmt.Errorf("pod %s: %w", p.allocID, err)
		}
	}
	if err := p.makeVolumes(t); err != nil {
		return err
	}
	if t.Gvisor {
		if err := p.joinSandbox(ctx, t, state); err != nil {
			return fmt.Errorf("pod %s: %w", p.allocID, err)
		}
		return nil
	}
	if t.Share.UTS && !namespace.Pinned(p.namespaceDir(), namespace.UTS) {
		if err := p.pin(t.users, namespace.UTS, namespace.SetHostname(state.Hostname)); err != nil {
			return fmt.Errorf("pod %s: %w", p.allocID, err)
		}
	}
	if t.Share.PID && !(state.Infra.Alive() && namespace.Pinned(p.namespaceDir(), namespace.PID)) {
		if err := p.startInfra(ctx, t, state); err != nil {
			return fmt.Errorf("pod %s: %w", p.allocID, err)
		}
	}
	return nil
}

// load reads the pod's state, or creates its directory and state.
func (p *pod) load(t Task) (podState, error) {
	for _, dir := range []string{p.dir, p.namespaceDir(), p.tasksDir()} {
		// An interrupted removal may have removed some of them.
		if err := p.m.checkpoint("make pod directory", func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
			return podState{}, fmt.Errorf("make pod: %w", err)
		}
	}
	state, err := readPodState(p.stateFile())
	if err == nil && state.AllocID != p.allocID {
		err = fmt.Errorf("%w: %s belongs to another pod", errDamaged, p.stateFile())
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errDamaged) {
		return p.repair(t, err)
	}
	return state, err
}

// hostnameOf returns the host name of a task: the pod's, or its own.
func (p *pod) hostnameOf(t Task) string {
	if !t.Share.UTS {
		return t.Hostname
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hostname
}

// pin creates and pins a namespace of the pod, or pins the one that belongs to its user namespace.
func (p *pod) pin(u *users, kind namespace.Kind, setup func() error) error {
	return p.m.checkpoint("pin "+string(kind), func() error {
		if u != nil {
			return namespace.PinFrom(u.dir, p.namespaceDir(), setup, u.First, kind)
		}
		return namespace.Pin(p.namespaceDir(), setup, kind)
	})
}

const shmFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// joinIPC creates the shared IPC namespace if the pod has none, and raises the size
// of /dev/shm and the namespace's limits to the largest request.
func (p *pod) joinIPC(u *users, current, next shared) error {
	if current.ipc == nil {
		return p.makeIPC(u, next)
	}
	if !next.ipc.equal(current.ipc) {
		if err := namespace.InIPCOf(p.ipcFile(), u.root(), next.ipc.write); err != nil {
			return err
		}
	}
	if next.shm <= current.shm {
		return nil
	}
	err := p.m.checkpoint("enlarge shared memory", func() error {
		return unix.Mount("", p.shmDir(), "", unix.MS_REMOUNT|shmFlags, tmpfsLimits(next.shm))
	})
	if err != nil {
		return fmt.Errorf("enlarge shared memory at %s: %w", p.shmDir(), err)
	}
	return nil
}

// makeIPC creates the shared IPC namespace and the tmpfs for /dev/shm, which
// belong together: POSIX shared memory is stored as files there.
func (p *pod) makeIPC(u *users, next shared) error {
	if err := unmount(p.shmDir()); err != nil { // left by a crash in between
		return err
	}
	err := p.m.checkpoint("mount shared memory", func() error { return mountTmpfs(p.shmDir(), next.shm, shmFlags, u.root()) })
	if err != nil {
		return err
	}
	if err := p.pin(u, namespace.IPC, next.ipc.write); err != nil {
		return errors.Join(err, unmount(p.shmDir()))
	}
	return nil
}

// remove removes the pod. It can be called again after an error. No other method of
// the pod may run at the same time.
func (p *pod) remove(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := errors.Join(
		p.removeInfra(ctx),
		// Even after errors no process of the pod may be left running, and a cgroup
		// that is not empty must not prevent that.
		p.m.checkpoint("kill pod", func() error { return p.cgroup().Kill(ctx) }),
		p.m.checkpoint("remove pod's cgroup", p.cgroup().Remove),
		p.m.checkpoint("prune cgroup", p.m.pruneParent),
		p.m.checkpoint("unpin namespaces", func() error {
			return errors.Join(
				namespace.Unpin(p.namespaceDir(), namespace.IPC, namespace.UTS, namespace.Net),
				namespace.Unpin(p.usersDir(), namespace.User, namespace.IPC, namespace.UTS),
			)
		}),
		p.m.checkpoint("unmount shared memory", func() error { return unmount(p.shmDir()) }),
		p.removeVolumes(),
	)
	if err != nil {
		// The state stays, so that the next sweep finds the pod.
		return fmt.Errorf("remove pod %s: %w", p.allocID, err)
	}
	if err := p.m.checkpoint("remove pod directory", func() error { return os.RemoveAll(p.dir) }); err != nil {
		return fmt.Errorf("remove pod %s: %w", p.allocID, err)
	}
	// Last, so that no process or file of the pod has the ids any more.
	if err := p.m.cfg.IDs.Release(p.allocID); err != nil {
		return fmt.Errorf("remove pod %s: %w", p.allocID, err)
	}
	return nil
}

// pruneParent removes cgroupParent if it is empty. While a runtime creates a group below it, which
// needs the parent, it is left to the next removal of a pod.
func (m *Manager) pruneParent() error {
	if !m.parent.TryLock() {
		return nil
	}
	defer m.parent.Unlock()
	return cgroup.At(m.cfg.Cgroups, cgroupParent).Prune()
}

// namespaces lists the task's namespaces that are not the host's: its own or the
// pod's.
func (p *pod) namespaces(t Task) []ocispec.Namespace {
	list := append([]ocispec.Namespace{{Kind: specs.MountNamespace}}, t.users.namespaces()...)
	if p.m.cfg.Cgroups == cgroup.V2 {
		// On cgroup v1 a task sees its cgroup path, as with docker; Nomad's
		// conformance test of exec requires that.
		list = append(list, ocispec.Namespace{Kind: specs.CgroupNamespace})
	}
	for _, k := range []struct {
		kind         specs.LinuxNamespaceType
		pinned       namespace.Kind
		shared, host bool
	}{
		{specs.IPCNamespace, namespace.IPC, t.Share.IPC, t.HostNamespaces.IPC},
		{specs.UTSNamespace, namespace.UTS, t.Share.UTS, t.HostNamespaces.UTS},
		{specs.PIDNamespace, namespace.PID, t.Share.PID, t.HostNamespaces.PID},
	} {
		own := ocispec.Namespace{Kind: k.kind}
		if k.shared {
			own.Path = filepath.Join(p.namespaceDir(), string(k.pinned))
		}
		if !k.host {
			list = append(list, own)
		}
	}
	switch {
	case t.Network.NamespaceHostPath != "":
		list = append(list, ocispec.Namespace{Kind: specs.NetworkNamespace, Path: t.Network.NamespaceHostPath})
	case t.Network.None:
		list = append(list, ocispec.Namespace{Kind: specs.NetworkNamespace})
	}
	return list
}
