package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// startInfra starts the infra process: PID 1 of the shared PID namespace, which
// reaps the pod's orphans. It runs in a container of its own, see infraSpec.
func (p *pod) startInfra(ctx context.Context, t Task, state *podState) error {
	u := t.users
	leave, err := p.m.limiter.acquire(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, p.m.cfg.CreateTimeout)
	defer cancel()
	if err := p.removeInfra(ctx); err != nil { // a dead one
		return err
	}
	root := filepath.Join(p.infraDir(), "root")
	err = p.m.checkpoint("make infra root", func() (err error) {
		if u != nil {
			root, err = p.m.makeUsersRoot(u, p.infraContainerID())
			return errors.Join(err, os.MkdirAll(p.infraDir(), 0o700))
		}
		return os.MkdirAll(root, 0o755)
	})
	if err != nil {
		return fmt.Errorf("start infra process: %w", err)
	}
	var program string
	err = p.m.checkpoint("copy infra program", func() (err error) {
		if t.Gvisor { // nothing of the sandbox can trace it, and root there may not read a file that others cannot
			program = p.m.cfg.Init
			return nil
		}
		p.m.infra.Lock()
		defer p.m.infra.Unlock()
		program, err = infraProgram(p.m.cfg.Init, filepath.Join(p.m.cfg.DataDir, "infra"))
		return err
	})
	if err != nil {
		return fmt.Errorf("start infra process: %w", err)
	}
	infra := infraContainer(root, program, p.sandbox().Path())
	infra.Security.AppArmor = p.m.cfg.AppArmor
	u.confineInfra(&infra)
	if t.Gvisor {
		if err := p.sandboxContainer(&infra, t, state.Hostname); err != nil {
			return fmt.Errorf("start sandbox: %w", err)
		}
	}
	spec, err := ocispec.Build(infra)
	if err != nil {
		return fmt.Errorf("start infra process: %w", err)
	}
	runtime := p.m.runtime(t.Gvisor)
	if t.Gvisor {
		spec.Linux.Seccomp, spec.Linux.Resources, spec.Process.ApparmorProfile = nil, nil, ""
	}
	p.m.filters.apply(spec)
	if err := p.m.checkpoint("write infra spec", func() error { return p.m.writeBundle(p.infraDir(), runtime, spec) }); err != nil {
		return fmt.Errorf("start infra process: %w", err)
	}
	if err := p.runInfra(ctx, t, state); err != nil {
		return errors.Join(fmt.Errorf("start infra process: %w", err), p.removeInfra(context.WithoutCancel(ctx)))
	}
	p.m.filters.learn(spec, p.infraContainerID())
	return nil
}

func (p *pod) runInfra(ctx context.Context, t Task, state *podState) error {
	if t.Gvisor {
		return p.runSandbox(ctx, t, state)
	}
	var pid int
	err := p.m.checkpoint("run infra process", func() (err error) {
		p.m.parent.RLock()
		defer p.m.parent.RUnlock()
		pid, err = p.m.cfg.Runtime.RunDetached(ctx, p.infraContainerID(), p.infraDir())
		return err
	})
	if err != nil {
		return err
	}
	if state.Infra, err = process.Identify(pid); err != nil {
		return err
	}
	if err := p.m.checkpoint("pin pid", func() error { return namespace.PinPID(p.namespaceDir(), pid) }); err != nil {
		return err
	}
	if !state.Infra.Alive() {
		return process.ErrGone
	}
	return p.m.checkpoint("write infra state", func() error { return writeState(p.stateFile(), *state) })
}

func (p *pod) removeInfra(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.m.cfg.TeardownTimeout)
	defer cancel()
	err := p.m.checkpoint("unpin pid", func() error { return namespace.Unpin(p.namespaceDir(), namespace.PID) })
	if err != nil {
		return err
	}
	// A runtime that was killed while it created the container may leave processes
	// that it does not know of.
	group := p.sandbox()
	if err := p.m.checkpoint("kill infra process", func() error { return group.Kill(ctx) }); err != nil {
		return err
	}
	if runtime := p.m.runtimeOf(p.infraDir()); runtime.Known(p.infraContainerID()) {
		err := p.m.checkpoint("delete infra container", func() error { return runtime.Delete(ctx, p.infraContainerID()) })
		if err != nil {
			return err
		}
	}
	if err := p.m.removeUsersRoot(p.infraContainerID()); err != nil {
		return err
	}
	return errors.Join(p.m.checkpoint("remove infra cgroup", group.Remove), p.restoreAddresses())
}

// infraProcess returns the infra process.
func (p *pod) infraProcess() (process.Identity, error) {
	state, err := readPodState(p.stateFile())
	return state.Infra, err
}
