package pod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// Debug describes a container beside a task.
type Debug struct {
	Image        *Image   // nil: the host paths are the root
	Args         []string // the program and its arguments; at least the program
	Capabilities []string // CAP_…; CAP_SYS_PTRACE is needed for the task's files
}

// What containers beside tasks may use, all of it outside the limits of the
// task, which must not suffer from being looked at.
const (
	debugMemoryBytes = 512 << 20
	debugProcesses   = 512
)

// debugPrefix begins the names of their directories, which are in the task's.
const debugPrefix = "debug-"

// debugContainer is one of them. It has the task's namespaces, but for files.
type debugContainer struct {
	task    *Container
	id, dir string
}

// Debug runs a program beside the task and returns its exit code. The program
// is root, has a root file system of its own, and sees the task's processes,
// network, host name and shared memory. $POD_TASK_PID is the task's first
// process, $POD_TASK_ROOT the task's files. When the program ends, when ctx
// does, and with the task at the latest, all of it is removed.
func (c *Container) Debug(ctx context.Context, d Debug, o ociruntime.ExecOptions) (code int, err error) {
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
	namespaces, err := b.namespaces()
	if err != nil {
		return nil, err
	}
	pid, err := innerPID(b.task.state.Init.PID)
	if err != nil {
		return nil, err
	}
	task, err := readSpec(b.task.dir)
	if err != nil {
		return nil, err
	}
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
		Limits:       ocispec.Limits{MemoryBytes: debugMemoryBytes, MemorySwapBytes: debugMemoryBytes, Processes: debugProcesses},
		Capabilities: d.Capabilities,
		// Under another profile it could not trace the task.
		Security: ocispec.Security{AppArmor: task.Process.ApparmorProfile},
	})
}

// namespaces are the task's, through its first process, but for those of
// mounts and cgroups. Where the task has the host's, so has this.
func (b *debugContainer) namespaces() ([]ocispec.Namespace, error) {
	spec, err := readSpec(b.task.dir)
	if err != nil {
		return nil, err
	}
	files := map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
	}
	var out []ocispec.Namespace
	for _, ns := range spec.Linux.Namespaces {
		joined := ocispec.Namespace{Kind: ns.Type}
		if file := files[ns.Type]; file != "" {
			joined.Path = fmt.Sprintf("/proc/%d/ns/%s", b.task.state.Init.PID, file)
		}
		out = append(out, joined)
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
