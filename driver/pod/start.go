package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// Start creates a container for a task in the pod of its allocation and starts its
// program. A failed start is rolled back. If a crash left a task with the same ID,
// Start removes it first.
func (m *Manager) Start(ctx context.Context, t Task) (*Container, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if _, err := m.Get(t.ID); err == nil {
		return nil, fmt.Errorf("task %s is already started", t.ID)
	}
	m.sweepOnce()
	if t.Logs != nil {
		// The first start takes time. Its errors surface on first use.
		m.background.Go(func() { _ = m.logs.Start(context.WithoutCancel(ctx)) })
	}
	p := m.enter(t.AllocID)
	c := m.newContainer(p, t)
	c.stopwatch, c.logs = newStopwatch(), t.Logs
	if err := errors.Join(c.purge(), m.purgeOthers(c)); err != nil {
		m.leave(p)
		return nil, fmt.Errorf("remove an interrupted start: %w", err)
	}
	var r rollback
	r.push("pod membership", func() error { m.leave(p); return nil })
	if t.Gvisor {
		r.push("sandbox", func() error { return p.endSandbox(context.WithoutCancel(ctx)) })
	}
	p.addSibling(c.sibling)
	r.push("start order", func() error { p.removeSibling(c.sibling); return nil })
	if err := c.start(ctx, t, &r); err != nil {
		return nil, errors.Join(err, r.run())
	}
	m.adopt(c)
	if err := c.becomeReady(ctx, t.Ready); err != nil {
		return nil, errors.Join(err, c.Destroy(context.WithoutCancel(ctx), true))
	}
	c.stopwatch.endPhase("ready")
	m.cfg.Trace(t.ID, c.stopwatch.phases)
	return c, nil
}

// adopt registers a running container and starts to watch it.
func (m *Manager) adopt(c *Container) {
	m.mu.Lock()
	m.tasks[c.state.TaskID] = c
	m.mu.Unlock()
	c.watchPipes()
	c.watch()
}

// becomeReady waits for the task's ready check, if any, and then unblocks tasks that
// wait for this one.
func (c *Container) becomeReady(ctx context.Context, r *Ready) error {
	if r != nil {
		if err := c.awaitReady(ctx, *r); err != nil {
			return err
		}
	}
	c.state.ReadyAt = time.Now()
	if err := c.m.checkpoint("write state of a ready task", c.writeState); err != nil {
		return err
	}
	c.pod.change(func(*order) { c.sibling.ready = true })
	if c.state.Live != nil {
		c.m.liveness.add(c, c.state.Live.Interval)
	}
	return nil
}

func (m *Manager) newContainer(p *pod, t Task) *Container {
	id := containerID(t.AllocID, t.Name, t.ID)
	c := &Container{
		m: m, pod: p, id: id, dir: p.taskDir(id), done: make(chan struct{}),
		sibling: &sibling{name: t.Name, after: t.After, restartWith: t.RestartWith},
		state: taskState{
			Version: stateVersion, TaskID: t.ID, AllocID: t.AllocID, Name: t.Name,
			Share: t.Share, Gvisor: t.Gvisor, CgroupPath: t.CgroupPath, CpusetPath: t.CpusetHostPath, After: t.After, RestartWith: t.RestartWith, PreStop: t.PreStop, Live: t.Live, Kill: t.Kill,
		},
	}
	if t.Gvisor {
		c.state.Limits = &t.Limits
	}
	c.sibling.c = c
	return c
}

// start runs the phases of a start and pushes the rollback of each.
func (c *Container) start(ctx context.Context, t Task, r *rollback) error {
	c.stopwatch.endPhase("purge")
	if err := c.awaitTurn(ctx, t.AllocDirHostPath); err != nil {
		return err
	}
	c.state.Partners = c.sibling.partners
	c.stopwatch.endPhase("turn")
	if err := c.pod.join(ctx, &t); err != nil {
		return err
	}
	c.stopwatch.endPhase("join")
	r.push("container", c.remove)
	if err := c.begin(&t); err != nil {
		return err
	}
	c.stopwatch.endPhase("state")
	images, err := c.m.pulled(ctx, t, c.event)
	defer images.release()
	if err != nil {
		return err
	}
	c.state.ImageID, c.state.Digest = images.root.ID, images.root.Digest
	c.stopwatch.endPhase("pull")
	defer c.m.moves.Expect()()
	var spec *specs.Spec
	bundling := newStopwatch()
	bundle := parallel(func() (err error) {
		spec, err = c.makeBundle(ctx, t, images, &bundling)
		return err
	})
	if t.usesImages() {
		// A pull may lock the store. Waiting for the lock must not occupy a slot or use
		// up the create timeout.
		if err := bundle(); err != nil {
			return err
		}
		c.stopwatch.endPhase("bundle")
	}
	err = c.run(ctx, t, bundle)
	if berr := bundle(); berr != nil {
		return berr // omit the monitor's error, which is a consequence
	}
	if err != nil {
		return c.explainFailure(err, spec.Root.Path)
	}
	c.stopwatch.addParallel(bundling)
	c.m.filters.learn(spec, c.id)
	return nil
}

// begin makes the task's directory, its state and the pipes of its output.
func (c *Container) begin(t *Task) error {
	err := c.m.checkpoint("make task directory", func() error { return os.MkdirAll(c.dir, 0o700) })
	if err != nil {
		return fmt.Errorf("create task directory: %w", err)
	}
	if t.usesImages() {
		if _, err := c.m.images(); err != nil {
			return err
		}
	}
	c.state.WithImage, c.state.ImageMounts = t.Image != nil, len(t.ImageMounts)
	if err := c.m.checkpoint("write task state", c.writeState); err != nil {
		return err
	}
	return c.makeLogs(t)
}

// makeBundle creates the root of the task and the sources of its mounts, and writes
// the bundle.
func (c *Container) makeBundle(ctx context.Context, t Task, images imagesOf, watch *stopwatch) (*specs.Spec, error) {
	root, err := c.makeRoot(ctx, t, images.root)
	if err != nil {
		return nil, err
	}
	if t.Image != nil {
		if err := t.checkTargets(inRoot(root.hostPath)); err != nil {
			return nil, t.Image.explain(err)
		}
	}
	watch.endPhase("root")
	staged, err := c.stage(ctx, t, images.mounts)
	if err != nil {
		return nil, err
	}
	t.Hostname = c.pod.hostnameOf(t)
	own, err := c.makeFiles(t, root)
	if err != nil {
		return nil, err
	}
	watch.endPhase("mounts")
	t.Mounts = append(own, t.Mounts...)
	if err := c.mapMounts(&t, &root); err != nil {
		return nil, err
	}
	t.Mounts = append(t.Mounts, staged...)
	if root.hostPath, err = c.stageRoot(t, root.hostPath); err != nil {
		return nil, err
	}
	// Programs run in the task later start in its cgroup; see run and Exec.
	if cpus, err := c.cpuset().CPUs(); err != nil {
		return nil, err
	} else if cpus != "" {
		t.Limits.CPUSet = cpus
	}
	spec, err := c.makeSpec(t, root)
	watch.endPhase("spec")
	return spec, err
}

// makeSpec prepares the root for the runtime and writes the runtime-spec.
func (c *Container) makeSpec(t Task, root rootfs) (*specs.Spec, error) {
	spec, err := c.pod.buildSpec(t, root)
	if err != nil {
		return nil, err
	}
	v := view{root: spec.Root.Path, mounts: spec.Mounts, users: t.users}
	if err := v.checkNested(); err != nil {
		return nil, err
	}
	if t.Image != nil {
		err := t.users.asRoot(func() error { return prepareTargets(root.hostPath, spec.Mounts) })
		if err != nil {
			return nil, t.Image.explain(err)
		}
	}
	if err := setTmpfsModes(root.hostPath, spec.Mounts); err != nil {
		return nil, err
	}
	args := t.Process.args(root.config)
	err = t.users.asRoot(func() (err error) {
		c.mistake, err = checkStart(v, spec.Process, args, t.Image)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.initHint = t.initHint(v, args)
	if t.Gvisor {
		forSandbox(spec, c.pod.infraContainerID(), t.Share.PID)
	}
	c.m.filters.apply(spec)
	if err := c.m.checkpoint("write spec", func() error { return c.m.writeBundle(c.dir, c.m.runtime(t.Gvisor), spec) }); err != nil {
		return nil, err
	}
	c.state.StopSignal = root.config.StopSignal
	if _, err := ParseSignal(c.state.StopSignal); err != nil {
		c.event(fmt.Sprintf("STOPSIGNAL %.32q of the image is not a signal; a stop sends SIGTERM unless kill_signal is set", c.state.StopSignal))
	}
	c.state.OOMKills, _ = c.oomKills() // the cgroup may not exist yet
	return spec, nil
}

// explainFailure replaces a runtime error by a mistake in the task's configuration, if one was
// found, or else removes the names that mean nothing to the job's author. The runtime's error goes
// to the log.
func (c *Container) explainFailure(err error, root string) error {
	c.m.cfg.Log.Error("task was not started", "task_id", c.state.TaskID, "error", err)
	if c.mistake != nil {
		return c.mistake
	}
	names := strings.NewReplacer(root+"/", "/", root, "/", c.dir, "DIR", c.id, "task "+c.state.Name)
	return renamedError{names.Replace(err.Error()), err}
}

// renamedError is an error with another text.
type renamedError struct {
	text  string
	cause error
}

func (e renamedError) Error() string { return e.text }
func (e renamedError) Unwrap() error { return e.cause }

func (c *Container) writeState() error { return writeState(c.stateFile(), c.state) }

// run creates the container and its monitor, records both, and starts the program.
// While the bundle is written, the monitor already starts and waits to be moved to
// its cgroup.
func (c *Container) run(ctx context.Context, t Task, bundle func() error) error {
	leave, err := c.m.limiter.acquire(ctx)
	if err != nil {
		return err
	}
	defer leave()
	c.stopwatch.endPhase("slot")
	ctx, cancel := context.WithTimeout(ctx, c.m.cfg.CreateTimeout)
	defer cancel()
	var groups []string
	if t.Gvisor {
		if groups, err = c.pod.sandboxGroups(t); err != nil {
			return err
		}
	}
	stdout, stderr, err := c.openLogs(t)
	if err != nil {
		return err
	}
	defer stdout.Close()
	defer stderr.Close()
	if err := t.users.own(stdout, stderr); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	attaching, giveUp := context.WithCancel(ctx)
	attached := parallel(func() error { return c.attachLogs(attaching) })
	defer func() {
		giveUp() // in case Create is never called
		_ = attached()
	}()
	pair, err := c.m.cfg.Monitor.Create(ctx, c.m.runtime(t.Gvisor), ociruntime.CreateOptions{
		ID: c.id, Bundle: c.dir, Stdout: stdout, Stderr: stderr, Groups: groups,
		Place: func(pid int) error {
			if err := c.placeMonitor(pid); err != nil {
				return err
			}
			err := bundle()
			c.stopwatch.endPhase("bundle")
			return err
		},
	})
	if err != nil {
		return err
	}
	c.stopwatch.endPhase("create")
	if err := c.identify(pair, t); err != nil {
		return err
	}
	c.stopwatch.endPhase("identify")
	if err := attached(); err != nil {
		return err
	}
	c.stopwatch.endPhase("logs")
	if err := c.m.checkpoint("hold processes", c.hold); err != nil {
		return err
	}
	if err := c.startProgram(ctx); err != nil {
		return errors.Join(err, c.release())
	}
	return nil
}

// identify records the processes of a created container, and removes what only its creation needs.
func (c *Container) identify(pair ociruntime.Pair, t Task) (err error) {
	if c.state.Monitor, err = process.Identify(pair.MonitorPID); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if c.state.Init, err = process.Identify(pair.InitPID); err != nil {
		return fmt.Errorf("first process: %w", err)
	}
	if !t.Gvisor { // it has no mounts of the host
		if err := c.checkMountpoints(t); err != nil {
			return err
		}
	}
	return c.unstage() // the container has its own copies now
}

// startProgram starts the program of a created container, and records that.
func (c *Container) startProgram(ctx context.Context) error {
	err := c.m.checkpoint("write state of a created task", c.writeState)
	if err == nil {
		err = c.m.checkpoint("move task to its cpuset", func() error { return c.joinCpuset() })
	}
	if err == nil {
		err = c.m.checkpoint("start program", func() error { return c.m.runtimeOf(c.dir).Start(ctx, c.id, c.dir) })
	}
	c.stopwatch.endPhase("start")
	c.state.StartedAt = time.Now()
	if err == nil {
		err = c.m.checkpoint("write state of a started task", c.writeState)
	}
	return err
}

// joinCpuset moves the task to the processors that Nomad has chosen. A sandbox is there already.
func (c *Container) joinCpuset() error {
	if c.state.Gvisor {
		return nil
	}
	return c.cpuset().Add(c.state.Init.PID)
}

// cgroup is the task's own cgroup.
func (c *Container) cgroup() cgroup.Group { return cgroup.At(c.m.cfg.Cgroups, c.state.CgroupPath) }

// cpuset is the cgroup with the task's CPUs if its own cgroup does not set them.
func (c *Container) cpuset() cgroup.Cpuset {
	return cgroup.CpusetAt(c.m.cfg.Cgroups, c.state.CpusetPath)
}

// monitorCgroup is outside the task's cgroup, so that the task's limits do not apply
// to the monitor.
func (c *Container) monitorCgroup() cgroup.Group { return c.pod.cgroup().Child("monitor-" + c.id) }

// placeMonitor moves the monitor to its cgroup before it does anything else.
func (c *Container) placeMonitor(pid int) error {
	c.stopwatch.endPhase("conmon")
	err := c.m.checkpoint("move monitor to its cgroup", func() error { return c.monitorCgroup().Add(pid) })
	c.stopwatch.endPhase("cgroup")
	return err
}
