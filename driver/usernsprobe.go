package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/namespace"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// usernsTimeout bounds the probe of a pod: two containers and a command.
const usernsTimeout = 3 * probeTimeout

// tryUserns returns why pods cannot have a user namespace of their own here, if the operator has a
// pool of ids for them. It runs the parts of such a pod: a container over an id-mapped layer in
// a tmpfs, with namespaces that it joins and a network namespace of the host, a program executed in
// it, and a second container in its PID namespace.
func (h *host) tryUserns(ctx context.Context, s settings) error {
	if s.pool.Ranges() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, usernsTimeout)
	defer cancel()
	if err := checkEnterable(filepath.Dir(pod.UsersRoots(s.RunDir))); err != nil {
		return fmt.Errorf("run_dir = %q: %w", s.RunDir, err)
	}
	dir, err := os.MkdirTemp(s.RunDir, probePrefix)
	if err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		h.removeProbe(ctx, dir)
	}()
	pool := s.pool
	pool.Dir = filepath.Join(s.RunDir, pod.IDsDir)
	ids, err := pool.Claim(filepath.Base(dir))
	if errors.Is(err, userns.ErrExhausted) {
		return nil // the pods that have the ranges prove more
	}
	if err != nil {
		return err
	}
	p := usernsProbe{host: h, dir: dir, ids: ids}
	err = p.run(ctx)
	err = errors.Join(err, pool.Release(filepath.Base(dir)))
	if ctx.Err() != nil {
		return fmt.Errorf("%s (version %s): the probe of a pod in a user namespace is not complete: %w", h.runtime.Path, h.runtimeVersion, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%s (version %s) cannot run a pod in a user namespace here: %w; that needs runc 1.4 or newer, whose path the operator can set as runtime, and Linux 6.3 or newer",
			h.runtime.Path, h.runtimeVersion, err)
	}
	return nil
}

// checkEnterable returns an error for a directory that users other than root cannot enter.
func checkEnterable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("users other than root cannot enter %s, and so no pod with a user namespace can reach its root; run \"chmod o+x %s\", or name another run_dir", dir, dir)
		}
		if dir == "/" {
			return nil
		}
	}
}

// usernsProbe is the probe pod.
type usernsProbe struct {
	*host
	dir string
	ids userns.Range
}

func (p usernsProbe) namespaces() string { return filepath.Join(p.dir, "ns") }

// root is the mount point of the containers' root, as for a pod.
func (p usernsProbe) root() string {
	return filepath.Join(pod.UsersRoots(filepath.Dir(p.dir)), filepath.Base(p.dir), "root")
}

func (p usernsProbe) run(ctx context.Context) error {
	if err := p.prepare(); err != nil {
		return err
	}
	first, err := p.container(ctx, "1", "")
	if err != nil {
		return err
	}
	if err := p.exec(ctx); err != nil {
		return err
	}
	if err := namespace.PinPID(p.namespaces(), first); err != nil {
		return err
	}
	_, err = p.container(ctx, "2", filepath.Join(p.namespaces(), string(namespace.PID)))
	return err
}

// prepare makes the namespaces and mounts.
func (p usernsProbe) prepare() error {
	ns, layers := p.namespaces(), filepath.Join(p.dir, "layers")
	first := int(p.ids.First)
	for _, dir := range []string{ns, layers, filepath.Join(p.dir, "sys"), filepath.Join(p.dir, "lower"), p.root()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	err := namespace.PinUser(ns, p.init, p.ids.First, userns.Size, namespace.IPC, namespace.UTS)
	if err == nil {
		err = namespace.Pin(ns, nil, namespace.Net)
	}
	if err == nil {
		err = namespace.InNetwork(filepath.Join(ns, string(namespace.Net)), func() error {
			return unix.Mount("sysfs", filepath.Join(p.dir, "sys"), "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		})
	}
	if err == nil {
		err = unix.Mount("tmpfs", layers, "tmpfs", 0, "size=1m,mode=755")
	}
	if err != nil {
		return err
	}
	lower, upper, work := filepath.Join(layers, "lower"), filepath.Join(layers, "upper"), filepath.Join(layers, "work")
	err = errors.Join(os.Mkdir(lower, 0o755), os.Mkdir(upper, 0o755), os.Chown(upper, first, first), os.Mkdir(work, 0o700))
	if err != nil {
		return err
	}
	if err := p.mapLower(lower); err != nil {
		return err
	}
	return unix.Mount("overlay", p.root(), "overlay", 0,
		fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", filepath.Join(p.dir, "lower"), upper, work))
}

func (p usernsProbe) mapLower(lower string) error {
	source, err := os.Open(lower)
	if err != nil {
		return err
	}
	defer source.Close()
	ns, err := os.Open(filepath.Join(p.namespaces(), string(namespace.User)))
	if err != nil {
		return err
	}
	defer ns.Close()
	return userns.Mount(source, ns, filepath.Join(p.dir, "lower"), false)
}

// container starts a container in the probe pod and returns its first process.
func (p usernsProbe) container(ctx context.Context, name, pidNamespace string) (int, error) {
	pinned := func(kind specs.LinuxNamespaceType, k namespace.Kind) ocispec.Namespace {
		return ocispec.Namespace{Kind: kind, Path: filepath.Join(p.namespaces(), string(k))}
	}
	spec, err := ocispec.Build(ocispec.Container{
		RootHostPath: p.root(), SysHostPath: filepath.Join(p.dir, "sys"),
		Args: []string{"/probe", "-P"},
		Namespaces: []ocispec.Namespace{
			{Kind: specs.MountNamespace}, {Kind: specs.PIDNamespace, Path: pidNamespace},
			pinned(specs.UserNamespace, namespace.User), pinned(specs.IPCNamespace, namespace.IPC),
			pinned(specs.UTSNamespace, namespace.UTS), pinned(specs.NetworkNamespace, namespace.Net),
		},
		Mounts:     []ocispec.Mount{ocispec.BindFile(p.init, "/probe", true)},
		CgroupPath: p.probeGroup(filepath.Base(p.dir)).Child(name).Path(),
		Security:   ocispec.Security{AppArmor: p.profile},
		Limits:     ocispec.Limits{MemoryBytes: 32 << 20, MemorySwapBytes: 32 << 20, CPUShares: 100, Processes: 16},
	})
	if err != nil {
		return 0, err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	bundle := filepath.Join(p.dir, name)
	if err := errors.Join(os.Mkdir(bundle, 0o700), os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600)); err != nil {
		return 0, err
	}
	return p.probeRuntime().RunDetached(ctx, filepath.Base(p.dir)+"-"+name, bundle)
}

func (p usernsProbe) probeRuntime() ociruntime.Runtime {
	return ociruntime.Runtime{Path: p.runtime.Path, StateDir: filepath.Join(p.dir, "runtime")}
}

// exec executes a program in the first container.
func (p usernsProbe) exec(ctx context.Context) error {
	code, err := p.probeRuntime().Exec(ctx, filepath.Base(p.dir)+"-1", ociruntime.ExecOptions{
		Process: &specs.Process{Args: []string{"/probe", "--version"}, Cwd: "/"},
		Dir:     p.dir, Stdout: io.Discard, Stderr: io.Discard,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("a program executed in the container ended with exit code %d", code)
	}
	return err
}

// removeUsernsProbe removes the leftover mounts of a probe pod, after its processes were killed.
func (h *host) removeUsernsProbe(dir string) error {
	roots := filepath.Join(pod.UsersRoots(filepath.Dir(dir)), filepath.Base(dir))
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, dir+"/") && !strings.HasPrefix(m.Mountpoint, roots+"/"), false
	})
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	return os.RemoveAll(roots)
}
