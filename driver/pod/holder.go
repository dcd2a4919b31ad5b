package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/process"
)

// makeHolder starts the first process of the shared PID namespace. It is a
// container of its own, with no rights, no files and no network, so that
// /proc/1 of the pod leads nowhere. It reaps the pod's orphans.
func (p *pod) makeHolder(ctx context.Context, state *podState) error {
	leave, err := p.m.places.take(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, p.m.cfg.CreateTimeout)
	defer cancel()
	if err := p.removeHolder(ctx); err != nil { // one that died
		return err
	}
	root := filepath.Join(p.holderDir(), "root")
	if err := p.m.step("make holder's root", func() error { return os.MkdirAll(root, 0o755) }); err != nil {
		return fmt.Errorf("make holder: %w", err)
	}
	spec, err := ocispec.Build(ocispec.Container{
		RootHostPath: root,
		ReadonlyRoot: true,
		Args:         []string{"/catatonit", "-P"},
		Security:     ocispec.Security{AppArmor: p.m.cfg.AppArmor},
		User:         ocispec.User{UID: 65534, GID: 65534},
		Namespaces: []ocispec.Namespace{
			{Kind: specs.MountNamespace}, {Kind: specs.PIDNamespace}, {Kind: specs.NetworkNamespace},
			{Kind: specs.IPCNamespace}, {Kind: specs.UTSNamespace},
		},
		Mounts:     []ocispec.Mount{ocispec.BindFile(p.m.cfg.Init, "/catatonit", true)},
		CgroupPath: p.cgroup().Child("holder").Path(),
	})
	if err != nil {
		return fmt.Errorf("make holder: %w", err)
	}
	p.m.filters.apply(spec)
	if err := p.m.step("write holder's spec", func() error { return p.m.writeBundle(p.holderDir(), spec) }); err != nil {
		return fmt.Errorf("make holder: %w", err)
	}
	if err := p.runHolder(ctx, state); err != nil {
		return errors.Join(fmt.Errorf("make holder: %w", err), p.removeHolder(context.WithoutCancel(ctx)))
	}
	p.m.filters.learn(spec, p.holderID())
	return nil
}

func (p *pod) runHolder(ctx context.Context, state *podState) error {
	var pid int
	err := p.m.step("run holder", func() (err error) {
		pid, err = p.m.cfg.Runtime.RunDetached(ctx, p.holderID(), p.holderDir())
		return err
	})
	if err != nil {
		return err
	}
	if state.Holder, err = process.Identify(pid); err != nil {
		return err
	}
	if err := p.m.step("pin pid", func() error { return namespace.PinPID(p.namespaceDir(), pid) }); err != nil {
		return err
	}
	if !state.Holder.Alive() {
		return process.ErrGone
	}
	return p.m.step("write holder's state", func() error { return writeState(p.stateFile(), *state) })
}

func (p *pod) removeHolder(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.m.cfg.TeardownTimeout)
	defer cancel()
	err := p.m.step("unpin pid", func() error { return namespace.Unpin(p.namespaceDir(), namespace.PID) })
	if err != nil {
		return err
	}
	// Where a runtime was killed that made it, there are processes that the
	// runtime does not know of.
	group := p.cgroup().Child("holder")
	if err := p.m.step("kill holder", func() error { return group.Kill(ctx) }); err != nil {
		return err
	}
	if maker := p.m.maker(p.holderDir()); maker.Known(p.holderID()) {
		err := p.m.step("delete holder", func() error { return maker.Delete(ctx, p.holderID()) })
		if err != nil {
			return err
		}
	}
	return p.m.step("remove holder's cgroup", group.Remove)
}

// holder returns the first process of the shared PID namespace.
func (p *pod) holder() (process.Identity, error) {
	state, err := readPodState(p.stateFile())
	return state.Holder, err
}
