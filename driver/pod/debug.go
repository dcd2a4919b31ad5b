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

// Debug describes a container beside a task.
type Debug struct {
	Image *Image   // nil: the host paths are the root
	Args  []string // the program and its arguments; at least the program
	// Allowed are the capabilities that the operator allows. Without
	// CAP_SYS_PTRACE the program is the task's user, whose processes it can trace,
	// in place of root.
	Allowed []string
}

// Each debug container has limits of its own, so that the task does not suffer
// from it. Their number is bounded, and with it the sum.
const (
	debugMemoryBytes  = 512 << 20
	debugProcesses    = 512
	debugMicrosPerSec = 1_000_000 // of processor time

	maxDebugOfTask = 4
	maxDebugOfNode = 8
)

// debugPrefix begins the names of their directories, which are in the task's.
const debugPrefix = "debug-"

// debugContainer is one of them. It has the task's namespaces, but for files.
type debugContainer struct {
	task    *Container
	id, dir string
}

// Debug runs a program beside the task and returns its exit code. The program
// has a root file system of its own, and sees the task's processes, network,
// host name and shared memory. $POD_TASK_PID is the task's first
// process, $POD_TASK_ROOT the task's files. When the program ends, when ctx
// does, and with the task at the latest, all of it is removed.
func (c *Container) Debug(ctx context.Context, d Debug, o ociruntime.ExecOptions) (code int, err error) {
	leave, err := c.takeDebugSlot()
	if err != nil {
		return 0, fmt.Errorf("debug task %s: %w", c.state.TaskID, err)
	}
	defer leave()
	var pulled image.Image
	if d.Image != nil {
		if pulled, err = c.pull(ctx, *d.Image); err != nil {
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
	return c.m.cfg.Runtime.Exec(ctx, beside.id, o)
}

// takeDebugSlot counts a debug container, unless there are too many.
func (c *Container) takeDebugSlot() (leave func(), err error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	switch {
	case c.debugs >= maxDebugOfTask:
		return nil, fmt.Errorf("it has %d debug containers, the most for a task; end one of them", maxDebugOfTask)
	case c.m.debugs >= maxDebugOfNode:
		return nil, fmt.Errorf("this node has %d debug containers, the most there can be; end one of them", maxDebugOfNode)
	}
	c.debugs, c.m.debugs = c.debugs+1, c.m.debugs+1
	return func() {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.debugs, c.m.debugs = c.debugs-1, c.m.debugs-1
	}, nil
}

// makeDebug makes a container that waits, for programs to be run in. It may
// not be made while the task is being removed, which would miss it.
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

func (b *debugContainer) run(ctx context.Context, d Debug, img image.Image) (*specs.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, b.task.m.cfg.CreateTimeout)
	defer cancel()
	m := b.task.m
	root, err := m.makeRoot(ctx, b.id, img)
	if err != nil {
		return nil, err
	}
	spec, err := b.spec(d, root)
	if err != nil {
		return nil, err
	}
	if err := m.writeBundle(b.dir, spec); err != nil {
		return nil, err
	}
	if _, err := m.cfg.Runtime.RunDetached(ctx, b.id, b.dir); err != nil {
		return nil, err
	}
	if !b.task.state.Init.Alive() { // and the namespaces may be a stranger's
		return nil, errors.New("the task has ended")
	}
	return spec.Process, nil
}

func (b *debugContainer) spec(d Debug, root rootfs) (*specs.Spec, error) {
	pid, err := innerPID(b.task.state.Init.PID)
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
		// Under another profile it could not trace the task.
		Security: ocispec.Security{AppArmor: task.Process.ApparmorProfile},
	})
}

func debugLimits() ocispec.Limits {
	return ocispec.Limits{
		MemoryBytes: debugMemoryBytes, MemorySwapBytes: debugMemoryBytes, Processes: debugProcesses,
		CPUQuotaMicros: debugMicrosPerSec / 10, CPUPeriodMicros: 1_000_000 / 10,
	}
}

// rights are at most the task's, and CAP_SYS_PTRACE where it is allowed.
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

// namespaces are the task's, through its first process, except for mounts and
// cgroups. A debug container does not join the host's PID namespace, and has
// IPC and UTS namespaces of its own if the task has the host's. The host's
// network is that of any job without a network block.
func (b *debugContainer) namespaces(task *specs.Spec) ([]ocispec.Namespace, error) {
	files := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
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
		return nil, errors.New("its PID namespace is the host's, which a debug container does not join; use nomad alloc exec, or leave pid_mode out of the task")
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.IPCNamespace, specs.UTSNamespace} {
		if !has(kind) {
			out = append(out, ocispec.Namespace{Kind: kind})
		}
	}
	return out, nil
}

// innerPID is the number that a process has in its own PID namespace, the last
// of NSpid in proc(5)'s status.
func innerPID(pid int) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(status) {
		if ids, found := bytes.CutPrefix(line, []byte("NSpid:")); found {
			if fields := bytes.Fields(ids); len(fields) > 0 {
				return string(fields[len(fields)-1]), nil
			}
		}
	}
	return "", fmt.Errorf("process %d: its status has no NSpid", pid)
}

func (b *debugContainer) cgroup() cgroup.Group { return b.task.pod.cgroup().Child(b.id) }

// remove takes all down. It may be called again after an error, and is no
// error where nothing is left.
func (b *debugContainer) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), b.task.m.cfg.TeardownTimeout)
	defer cancel()
	err := errors.Join(
		b.cgroup().Kill(ctx),
		b.task.m.maker(b.dir).Delete(ctx, b.id),
		b.cgroup().Remove(),
		b.task.m.removeRoot(b.id, true),
	)
	if err != nil {
		return err // the directory stays, so that the task's removal finds it
	}
	return os.RemoveAll(b.dir)
}

// removeDebug removes all containers beside the task, also those that an
// earlier manager made: who ran a program there has gone with it.
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
