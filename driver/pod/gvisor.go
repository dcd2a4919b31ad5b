package pod

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// A gVisor pod is one sandbox. Its first container has the infra process, and each task is a container
// that is added. All of them are inside the processes of the sandbox, in the cgroup of the infra
// process, which has the limits of all tasks together.

// gvisorState has the settings that all tasks of a gVisor pod must agree about.
type gvisorState struct {
	SharePID bool `json:"share_pid,omitempty"`
	// Network has the addresses of the network namespace before the first sandbox.
	Network *addresses `json:"network,omitempty"`
}

// gvisorOf returns the state for a new pod.
func gvisorOf(t Task) *gvisorState {
	if !t.Gvisor {
		return nil
	}
	return &gvisorState{SharePID: t.Share.PID}
}

// checkRuntime requires that the tasks of a pod agree about the runtime.
func (p *pod) checkRuntime(t Task, state podState) error {
	switch gvisor := state.Gvisor != nil; {
	case t.Gvisor && !gvisor:
		return fmt.Errorf("%w: runtime = \"runsc\", but other tasks of the pod do not have it; set the same in all tasks of the group", ErrInvalid)
	case !t.Gvisor && gvisor:
		own := "the task has no runtime"
		if t.Runtime != "" {
			own = fmt.Sprintf("runtime = %q", t.Runtime)
		}
		return fmt.Errorf("%w: %s, but other tasks of the pod have \"runsc\"; set the same in all tasks of the group", ErrInvalid, own)
	case t.Gvisor && t.Share.PID != state.Gvisor.SharePID:
		return fmt.Errorf("%w: share: with runtime = \"runsc\" either all tasks of a pod share \"pid\" or none; set the same in all tasks of the group", ErrInvalid)
	}
	return nil
}

// runtime returns the runtime for a new container of a task.
func (m *Manager) runtime(gvisor bool) ociruntime.Runtime {
	if gvisor && m.cfg.Gvisor != nil {
		return *m.cfg.Gvisor
	}
	return m.cfg.Runtime
}

// sandbox is the cgroup of the infra process, and in a gVisor pod of everything that runs in it.
func (p *pod) sandbox() cgroup.Group { return p.cgroup().Child("holder") }

// sandboxOverhead is what gVisor itself may need besides its tasks.
const (
	sandboxMemory    = 128 << 20
	sandboxProcesses = 512
)

// sandboxLimits returns the limits of a sandbox: the sum over its tasks and one that joins.
func (p *pod) sandboxLimits(joins Task) (ocispec.Limits, error) {
	sum := ocispec.Limits{MemoryBytes: sandboxMemory, Processes: sandboxProcesses, CPUShares: 2}
	entries, err := os.ReadDir(p.tasksDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return sum, err
	}
	all := []ocispec.Limits{joins.Limits}
	for _, e := range entries {
		state, err := p.taskState(e.Name())
		if err == nil && state.Limits != nil && state.TaskID != joins.ID {
			all = append(all, *state.Limits)
		}
	}
	unlimited := func(of func(ocispec.Limits) int64) bool {
		return slices.ContainsFunc(all, func(l ocispec.Limits) bool { return of(l) <= 0 })
	}
	for _, l := range all {
		sum.MemoryBytes += l.MemoryBytes
		sum.Processes += l.Processes
		sum.CPUShares += l.CPUShares
	}
	if unlimited(func(l ocispec.Limits) int64 { return l.MemoryBytes }) {
		sum.MemoryBytes = 0
	}
	if unlimited(func(l ocispec.Limits) int64 { return l.Processes }) {
		sum.Processes = 0
	}
	return sum, nil
}

// joinSandbox starts the sandbox if it does not run, and adds the limits of the task.
func (p *pod) joinSandbox(ctx context.Context, t Task, state *podState) error {
	limits, err := p.sandboxLimits(t)
	if err != nil {
		return err
	}
	if !state.Infra.Alive() {
		if err := p.startInfra(ctx, t, state); err != nil {
			return err
		}
	}
	return p.m.checkpoint("run infra process", func() error {
		return p.sandbox().Limit(cgroup.Limits{Memory: limits.MemoryBytes, Processes: limits.Processes, CPUShares: limits.CPUShares})
	})
}

// sandboxGroups lists the files that the runtime's processes of the pod are added to.
func (p *pod) sandboxGroups(t Task) ([]string, error) {
	files, err := p.sandbox().Files()
	if cpuset := cgroup.CpusetAt(p.m.cfg.Cgroups, t.CpusetHostPath); err == nil && cpuset.Path() != "" {
		files = append(files, cpuset.Procs())
	}
	return files, err
}

// sandboxContainer makes the infra container the first one of a sandbox.
func (p *pod) sandboxContainer(c *ocispec.Container, t Task, hostname string) error {
	network := t.Network.NamespaceHostPath
	if t.Network.None {
		network = filepath.Join(p.namespaceDir(), string(namespace.Net))
		if !namespace.Pinned(p.namespaceDir(), namespace.Net) {
			err := p.m.checkpoint("pin "+string(namespace.Net), func() error { return namespace.Pin(p.namespaceDir(), loopbackUp, namespace.Net) })
			if err != nil {
				return err
			}
		}
	}
	c.Namespaces = []ocispec.Namespace{
		{Kind: specs.MountNamespace}, {Kind: specs.PIDNamespace}, {Kind: specs.IPCNamespace},
		{Kind: specs.UTSNamespace}, {Kind: specs.NetworkNamespace, Path: network},
	}
	c.Hostname = hostname
	c.Annotations = map[string]string{ociruntime.GvisorType: ociruntime.GvisorSandbox}
	return nil
}

// loopbackUp brings the loopback interface of the current network namespace up: gVisor has the
// interfaces that are up.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req))
}

// forSandbox changes the runtime-spec of a container so that it is added to a sandbox.
// gVisor's kernel takes the place of what protects the host's: seccomp, AppArmor, cgroups.
func forSandbox(s *specs.Spec, sandbox string, sharePID bool) {
	s.Annotations = maps.Clone(s.Annotations)
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[ociruntime.GvisorType] = ociruntime.GvisorContainer
	s.Annotations[ociruntime.GvisorSandboxID] = sandbox
	s.Hostname = ""
	s.Process.ApparmorProfile = ""
	s.Process.OOMScoreAdj = nil
	s.Linux.Seccomp, s.Linux.Resources, s.Linux.Sysctl, s.Linux.Devices = nil, nil, nil, nil
	s.Linux.RootfsPropagation = ""
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return sharePID && n.Type == specs.PIDNamespace // the sandbox's own
	})
	for i, n := range s.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = ""
		}
	}
	// A sandbox has one hierarchy of cgroups, in which a container that is added again would collide
	// with its former self.
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	for i, m := range s.Mounts {
		s.Mounts[i].Options = slices.Clone(m.Options)
		for j, option := range m.Options {
			if option == "rro" { // gVisor's "ro" includes the mounts below
				s.Mounts[i].Options[j] = "ro"
			}
		}
	}
}

// killAll kills every process of the task.
func (c *Container) killAll(ctx context.Context) error {
	if !c.state.Gvisor {
		return c.cgroup().Kill(ctx)
	}
	infra, err := c.pod.infraProcess()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	runtime := c.m.runtimeOf(c.dir)
	if !infra.Alive() || !runtime.Known(c.id) {
		return nil // all of the sandbox has ended, or the task is not in it
	}
	asking, cancel := context.WithTimeout(ctx, sandboxPatience)
	defer cancel()
	if err = runtime.KillAll(asking, c.id); err == nil {
		return nil
	}
	if s, serr := runtime.State(asking, c.id); serr == nil && s.Status != ociruntime.Running {
		return nil
	}
	if !infra.Alive() || strings.Contains(err.Error(), unix.ECONNREFUSED.Error()) { // it is ending
		return c.pod.sandbox().Kill(ctx)
	}
	// A sandbox that does not obey must not outlive its task.
	c.event(fmt.Sprintf("The pod's sandbox did not kill the task, and was killed with all tasks of the pod: %v", err))
	return c.pod.sandbox().Kill(ctx)
}

// sandboxPatience is how long a sandbox may take to obey.
const sandboxPatience = 10 * time.Second

// signalInSandbox sends a signal to the first process of a task.
func (c *Container) signalInSandbox(sig unix.Signal) error {
	if !c.initAlive() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sandboxPatience)
	defer cancel()
	err := c.m.runtimeOf(c.dir).Kill(ctx, c.id, sig)
	if err != nil && !c.initAlive() {
		return nil
	}
	return err
}

// oomKills returns the number of OOM kills among processes of the task, or of its pod in a sandbox.
func (c *Container) oomKills() (uint64, error) { return c.accounts().OOMKills() }

// accounts is the cgroup with the usage of the task.
func (c *Container) accounts() cgroup.Group {
	if c.state.Gvisor {
		return c.pod.sandbox()
	}
	return c.cgroup()
}

// dialInSandbox is dial for a task in a sandbox with a network stack of its own.
func (c *Container) dialInSandbox(ctx context.Context, ip netip.Addr, port int) (net.Conn, error) {
	if !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address, and gVisor accepts checks of those only", ip)
	}
	conn, err := c.m.runtimeOf(c.dir).DialIn(ctx, c.id, c.dir, port)
	if err != nil && strings.Contains(err.Error(), "connecting endpoint") {
		return nil, errors.New("connect: connection refused")
	}
	if err != nil && ctx.Err() == nil {
		return nil, brokenCheck{err}
	}
	return conn, err
}

// goferRoot opens the task's files as the process sees them that serves them to the sandbox. Memory
// file systems of the task are not there.
func (c *Container) goferRoot() (*os.File, error) {
	gofer, err := c.m.runtimeOf(c.dir).Gofer(c.id)
	if err != nil {
		return nil, brokenCheck{err}
	}
	defer gofer.Close()
	f, err := os.Open(filepath.Join(openedPath(gofer), "root"))
	if err != nil {
		return nil, brokenCheck{err}
	}
	return f, nil
}

// runSandbox starts the sandbox with the infra container.
func (p *pod) runSandbox(ctx context.Context, t Task, state *podState) error {
	if err := p.keepAddresses(t, state); err != nil {
		return err
	}
	groups, err := p.sandboxGroups(t)
	if err != nil {
		return err
	}
	var pid int
	err = p.m.checkpoint("run infra process", func() (err error) {
		p.m.parent.RLock()
		defer p.m.parent.RUnlock()
		pid, err = p.m.runtime(true).RunSandbox(ctx, p.infraContainerID(), p.infraDir(), groups)
		return err
	})
	if err != nil {
		return err
	}
	if state.Infra, err = process.Identify(pid); err != nil {
		return err
	}
	return p.m.checkpoint("write infra state", func() error { return writeState(p.stateFile(), *state) })
}

// keepAddresses records the addresses of the network namespace before the sandbox takes them.
func (p *pod) keepAddresses(t Task, state *podState) (err error) {
	path := t.Network.NamespaceHostPath
	if path == "" || p.m.runtime(true).HostNetwork() || state.Gvisor.Network != nil {
		return nil
	}
	if state.Gvisor.Network, err = readAddresses(path); err != nil {
		return err
	}
	return p.m.checkpoint("write infra state", func() error { return writeState(p.stateFile(), *state) })
}

// restoreAddresses gives the network namespace the addresses back that a sandbox took.
func (p *pod) restoreAddresses() error {
	state, err := readPodState(p.stateFile())
	if err != nil || state.Gvisor == nil {
		return nil // there was none, or nothing is known
	}
	return state.Gvisor.Network.restore()
}

// endSandbox ends the sandbox if its last task leaves the pod. Nomad removes the network next, and
// CNI plugins undo their work by the addresses of the namespace, which the sandbox has taken.
func (p *pod) endSandbox(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, err := p.lastTask()
	if err != nil || !last {
		return err
	}
	return p.removeInfra(ctx)
}

// lastTask reports whether no other task is in the pod, recovered or not.
func (p *pod) lastTask() (bool, error) {
	p.m.mu.Lock()
	others := p.tasks > 1
	p.m.mu.Unlock()
	entries, err := os.ReadDir(p.tasksDir())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return !others && len(entries) == 0, err
}

// running returns the number of tasks of the pod that run.
func (p *pod) running() (n uint64) {
	p.orderMu.Lock()
	defer p.orderMu.Unlock()
	for _, s := range p.order.siblings {
		if !s.ended {
			n++
		}
	}
	return n
}

// part is a task's part of what its sandbox uses. The host cannot attribute that to tasks, so each
// has an equal part of it.
type part struct {
	last, own cgroup.CPU
}

func (p *part) of(s cgroup.Stats, tasks uint64) cgroup.Stats {
	tasks = max(tasks, 1)
	for _, v := range []*uint64{
		&s.Memory.RSS, &s.Memory.Cache, &s.Memory.Swap, &s.Memory.MappedFile, &s.Memory.Usage, &s.Memory.MaxUsage,
		&s.Memory.Kernel, &s.Memory.MaxKernel,
	} {
		*v /= tasks
	}
	now := s.CPU
	// Time is divided as it passes: a counter must not decrease when a task joins.
	p.own.TotalNanos += (max(now.TotalNanos, p.last.TotalNanos) - p.last.TotalNanos) / tasks
	p.own.UserNanos += (max(now.UserNanos, p.last.UserNanos) - p.last.UserNanos) / tasks
	p.own.SystemNanos += (max(now.SystemNanos, p.last.SystemNanos) - p.last.SystemNanos) / tasks
	p.own.ThrottledPeriods, p.own.ThrottledNanos = now.ThrottledPeriods, now.ThrottledNanos
	p.last, s.CPU = now, p.own
	return s
}
