package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Debug describes a debug container of a task.
type Debug struct {
	Image *Image   // nil: use host paths as the root
	Args  []string // the program and its arguments; not empty
	// Allowed lists the capabilities that the operator allows. Without CAP_SYS_PTRACE
	// the program runs as the task's user and can trace the task's processes, instead of
	// root.
	Allowed []string
}

// Each debug container has its own limits, so that it does not slow down the task.
// The number of debug containers is bounded, and so is the sum.
const (
	debugMemoryBytes  = 512 << 20
	debugProcesses    = 512
	debugMicrosPerSec = 1_000_000 // of CPU time

	maxDebugOfTask = 4
	maxDebugOfNode = 8
)

// debugPrefix is the name prefix of debug container directories, which are inside the task's.
const debugPrefix = "debug-"

// debugContainer shares all namespaces of its task except the mount namespace.
type debugContainer struct {
	task    *Container
	id, dir string
}

// Debug runs a program in a debug container and returns its exit code. The
// program has its own root file system and shares the task's processes, network,
// host name and shared memory. $POD_TASK_PID is the task's first process,
// $POD_TASK_ROOT the task's files. The container is removed when the program
// ends, ctx is done or the task ends.
func (c *Container) Debug(ctx context.Context, d Debug, o ociruntime.ExecOptions) (code int, err error) {
	if c.state.Gvisor {
		return 0, fmt.Errorf("debug task %s: %w: a container beside a gVisor sandbox cannot see into it; use nomad alloc exec", c.state.TaskID, ErrInvalid)
	}
	leave, err := c.takeDebugSlot()
	if err != nil {
		return 0, fmt.Errorf("debug task %s: %w", c.state.TaskID, err)
	}
	defer leave()
	var pulled image.Image
	var held imagesOf
	defer func() { held.release() }()
	if d.Image != nil {
		if pulled, err = c.m.pull(ctx, *d.Image, c.event, &held); err != nil {
			return 0, err
		}
	}
	beside, process, err := c.makeDebug(ctx, d, pulled)
	if err != nil {
		return 0, fmt.Errorf("debug task %s: %w", c.state.TaskID, err)
	}
	defer func() {
		c.teardown.Lock()
		defer c.teardown.Unlock()
		err = errors.Join(err, beside.remove())
	}()
	tty := o.Process != nil && o.Process.Terminal
	process.Args, process.Terminal = d.Args, tty
	if tty {
		process.Env = append(process.Env, "TERM=xterm")
	}
	o.Process, o.Dir = process, beside.dir
	if u, err := c.pod.users(); err == nil {
		o.Owner = u.root()
	}
	return c.m.cfg.Runtime.Exec(ctx, beside.id, o)
}

// takeDebugSlot counts a debug container and returns an error above the limits.
func (c *Container) takeDebugSlot() (leave func(), err error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	switch {
	case c.debugs >= maxDebugOfTask:
		return nil, fmt.Errorf("the task has the maximum of %d debug containers; end one of them", maxDebugOfTask)
	case c.m.debugs >= maxDebugOfNode:
		return nil, fmt.Errorf("this node has the maximum of %d debug containers; end one of them", maxDebugOfNode)
	}
	c.debugs, c.m.debugs = c.debugs+1, c.m.debugs+1
	return func() {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.debugs, c.m.debugs = c.debugs-1, c.m.debugs-1
	}, nil
}

// makeDebug creates an idle container for programs to run in. It fails while the
// task is being removed, since the removal would miss the container.
func (c *Container) makeDebug(ctx context.Context, d Debug, img image.Image) (*debugContainer, *specs.Process, error) {
	c.teardown.Lock()
	defer c.teardown.Unlock()
	if _, ended := c.Exit(); ended || c.gone {
		return nil, nil, errors.New("the task has ended")
	}
	dir, err := os.MkdirTemp(c.dir, debugPrefix)
	if err != nil {
		return nil, nil, err
	}
	beside := &debugContainer{c, c.id + "." + filepath.Base(dir), dir}
	process, err := beside.run(ctx, d, img)
	if err != nil {
		return nil, nil, errors.Join(err, beside.remove())
	}
	return beside, process, nil
}

func (b *debugContainer) run(ctx context.Context, d Debug, img image.Image) (_ *specs.Process, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.task.m.cfg.CreateTimeout)
	defer cancel()
	m := b.task.m
	u, err := b.task.pod.users()
	if err != nil {
		return nil, err
	}
	root, err := m.makeRoot(ctx, u, b.id, img)
	if err == nil && u != nil {
		root.hostPath, err = b.stage(u, root.hostPath)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.unstage()) }()
	spec, err := b.spec(d, u, root)
	if err != nil {
		return nil, err
	}
	if err := m.writeBundle(b.dir, m.cfg.Runtime, spec); err != nil {
		return nil, err
	}
	if _, err := m.cfg.Runtime.RunDetached(ctx, b.id, b.dir); err != nil {
		return nil, err
	}
	if !b.task.state.Init.Alive() { // the PID may be reused, and its namespaces another's
		return nil, errors.New("the task has ended")
	}
	return spec.Process, nil
}

func (b *debugContainer) spec(d Debug, u *users, root rootfs) (*specs.Spec, error) {
	pid, err := statusField(b.task.state.Init.PID, "NSpid")
	if err != nil {
		return nil, err
	}
	task, err := readSpec(b.task.dir)
	if err != nil {
		return nil, err
	}
	namespaces, err := b.namespaces(task)
	if err != nil {
		return nil, err
	}
	user, caps := d.rights(task.Process)
	m := b.task.m
	return ocispec.Build(ocispec.Container{
		RootHostPath: root.hostPath,
		Args:         []string{initPath, "-P"},
		Env: environment([]string{"PATH=" + defaultPath}, valid(root.config.Env), []string{
			"POD_TASK_PID=" + pid, "POD_TASK_ROOT=/proc/" + pid + "/root",
		}),
		Namespaces:   namespaces,
		Mounts:       outerFirst(append(root.mounts, ocispec.BindFile(m.cfg.Init, initPath, true))),
		CgroupPath:   b.cgroup().Path(),
		Limits:       debugLimits(),
		User:         user,
		Capabilities: caps,
		// With another profile it could not trace the task.
		Security:    ocispec.Security{AppArmor: task.Process.ApparmorProfile},
		SysHostPath: b.sysPath(u),
	})
}

func debugLimits() ocispec.Limits {
	return ocispec.Limits{
		MemoryBytes: debugMemoryBytes, MemorySwapBytes: debugMemoryBytes, Processes: debugProcesses,
		CPUQuotaMicros: debugMicrosPerSec / 10, CPUPeriodMicros: 1_000_000 / 10,
	}
}

// rights returns at most the task's capabilities, plus CAP_SYS_PTRACE if allowed.
func (d Debug) rights(task *specs.Process) (user ocispec.User, caps []string) {
	if task.Capabilities != nil {
		caps = slices.Clone(task.Capabilities.Bounding)
	}
	trace := slices.Contains(d.Allowed, capTrace)
	if trace && !slices.Contains(caps, capTrace) {
		caps = append(caps, capTrace)
	}
	caps = slices.DeleteFunc(caps, func(name string) bool { return !slices.Contains(d.Allowed, name) })
	if trace {
		return user, caps
	}
	return ocispec.User{UID: task.User.UID, GID: task.User.GID, Additional: task.User.AdditionalGids}, caps
}

const capTrace = "CAP_SYS_PTRACE"

// namespaces returns the task's namespaces, joined through its first process,
// except for mounts and cgroups. A debug container does not join the host's PID
// namespace, and has its own IPC and UTS namespaces if the task uses the host's.
// It may use the host's network, as any job without a network block does.
func (b *debugContainer) namespaces(task *specs.Spec) ([]ocispec.Namespace, error) {
	files := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
		specs.UserNamespace: "user",
	}
	var out []ocispec.Namespace
	for _, ns := range task.Linux.Namespaces {
		joined := ocispec.Namespace{Kind: ns.Type}
		if file := files[ns.Type]; file != "" {
			joined.Path = fmt.Sprintf("/proc/%d/ns/%s", b.task.state.Init.PID, file)
		}
		out = append(out, joined)
	}
	has := func(kind specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(out, func(n ocispec.Namespace) bool { return n.Kind == kind })
	}
	if !has(specs.PIDNamespace) {
		return nil, errors.New("debug containers do not join the host's PID namespace; use nomad alloc exec, or leave pid_mode out of the task")
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace} {
		if !has(kind) {
			out = append(out, ocispec.Namespace{Kind: kind})
		}
	}
	return out, nil
}

// statusField returns the last value of a line of /proc/PID/status. For NSpid it is the PID
// in its own PID namespace.
func statusField(pid int, name string) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(status) {
		if values, found := bytes.CutPrefix(line, []byte(name+":")); found {
			if fields := bytes.Fields(values); len(fields) > 0 {
				return string(fields[len(fields)-1]), nil
			}
		}
	}
	return "", fmt.Errorf("process %d: no %s in its status", pid, name)
}

func (b *debugContainer) cgroup() cgroup.Group { return b.task.pod.cgroup().Child(b.id) }

// remove removes the debug container. It can be called again after an error, and
// returns nil if nothing is left.
func (b *debugContainer) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), b.task.m.cfg.TeardownTimeout)
	defer cancel()
	err := errors.Join(
		b.cgroup().Kill(ctx),
		b.task.m.runtimeOf(b.dir).Delete(ctx, b.id),
		b.cgroup().Remove(),
		b.unstage(),
		b.task.m.removeUsersRoot(b.id),
		b.task.m.removeRoot(b.id, []string{b.id}),
	)
	if err != nil {
		return err // keep the directory for the task's removal
	}
	return os.RemoveAll(b.dir)
}

// removeDebug removes all debug containers of the task. Containers of an earlier
// manager have lost their clients.
func (c *Container) removeDebug() error {
	dirs, err := filepath.Glob(filepath.Join(c.dir, debugPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, (&debugContainer{c, c.id + "." + filepath.Base(dir), dir}).remove())
	}
	return errors.Join(errs...)
}
