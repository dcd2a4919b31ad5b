package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// host holds the programs and properties of this machine that pods need.
type host struct {
	cgroups cgroup.Version

	runtime        ociruntime.Runtime
	runtimeVersion string
	// passedOver is the reason why a preferred runtime is not used.
	passedOver string

	monitor        ociruntime.Monitor
	monitorVersion string

	init string

	gvisor *gvisorProbe // nil if the operator does not have it

	// noUserns is why pods cannot have a user namespace of their own; nil if they can, or if the
	// operator has no ids for them.
	noUserns error
	userns   bool // the operator has ids

	// profile is the AppArmor profile of tasks. It is empty if there is none;
	// unprotected then explains why, unless the host has no AppArmor.
	profile, unprotected string
}

// probeTimeout bounds the probe of one runtime.
const probeTimeout = 20 * time.Second

// findHost finds the programs that the driver needs and checks that they work: an
// installed runtime may still not support the kernel's cgroups. The error says what
// to install or change.
func findHost(ctx context.Context, s settings) (*host, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the driver requires root: run the Nomad client as root")
	}
	if err := checkKernel(kernelCalls()); err != nil {
		return nil, err
	}
	err := errors.Join(makePrivate("data_dir", s.DataDir), makePrivate("run_dir", s.RunDir))
	if err != nil {
		return nil, err
	}
	h := &host{}
	if h.profile, h.unprotected, err = hostAppArmor().prepare(); err != nil {
		return nil, err
	}
	if h.cgroups, err = cgroup.Detect(); err != nil {
		return nil, fmt.Errorf("%w: mount cgroup2 there, or boot with systemd", err)
	}
	conmon, err := find(s.Conmon, "conmon")
	if err != nil {
		return nil, err
	}
	h.monitor = ociruntime.Monitor{Path: conmon}
	if err := h.askMonitor(ctx); err != nil {
		return nil, err
	}
	if h.init, err = find("", "catatonit"); err != nil {
		return nil, err
	}
	if err := h.chooseRuntime(ctx, s); err != nil {
		return nil, err
	}
	if r := s.gvisor(""); r != nil {
		h.gvisor = &gvisorProbe{path: r.Path, run: func(ctx context.Context) (string, error) {
			return h.tryGvisor(ctx, s, probeTimeout)
		}}
	}
	h.userns = s.pool.Ranges() > 0
	h.noUserns = h.tryUserns(ctx, s)
	switch {
	case errors.Is(h.noUserns, context.DeadlineExceeded), errors.Is(h.noUserns, context.Canceled):
		return nil, h.noUserns // the next probe may succeed
	case h.noUserns != nil && s.Userns.Required:
		return nil, fmt.Errorf("userns { required = true }: %w", h.noUserns)
	}
	return h, nil
}

func (h *host) askMonitor(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if h.monitorVersion, err = h.monitor.Version(ctx); err != nil {
		return fmt.Errorf("%s does not run: %w", h.monitor.Path, err)
	}
	return nil
}

// chooseRuntime uses the operator's runtime, or the first of crun and runc that can
// create a container.
func (h *host) chooseRuntime(ctx context.Context, s settings) error {
	h.removeStale(ctx, s)
	candidates := []string{"crun", "runc"}
	if s.Runtime != "" {
		candidates = []string{s.Runtime}
	}
	var why []error
	for _, name := range candidates {
		path, err := find(s.Runtime, name)
		if err == nil {
			err = h.try(ctx, s, path)
		}
		if err == nil {
			h.passedOver = oneLine(errors.Join(why...))
			return nil
		}
		why = append(why, err)
	}
	return fmt.Errorf("no OCI runtime works here: %w", errors.Join(why...))
}

// probePrefix begins the names of probe directories and containers.
const probePrefix = "probe-"

// began is when this process started.
var began = time.Now()

// removeStale removes leftovers of interrupted probes of an earlier process: a created
// container and files. A failure to remove them must not prevent tasks; the next
// process retries.
func (h *host) removeStale(ctx context.Context, s settings) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	entries, _ := os.ReadDir(s.RunDir) // try reports the error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(began) || !strings.HasPrefix(e.Name(), probePrefix) && !ociruntime.IsLog(e.Name()) {
			continue
		}
		path := filepath.Join(s.RunDir, e.Name())
		if e.IsDir() {
			h.removeProbe(ctx, path)
		} else {
			_ = os.Remove(path)
		}
	}
}

// removeProbe removes the container and files of a probe, even if the runtime was killed
// before it recorded the container. If something cannot be removed, the directory stays
// so that the next process finds the rest.
func (h *host) removeProbe(ctx context.Context, dir string) {
	group := h.probeGroup(filepath.Base(dir))
	if group.Kill(ctx) == nil && h.removeUsernsProbe(dir) == nil && group.Remove() == nil {
		_ = os.RemoveAll(dir)
	}
	_ = cgroup.At(h.cgroups, "/nomad-driver-pod").Prune()
}

func (h *host) probeGroup(name string) cgroup.Group {
	return cgroup.At(h.cgroups, "/nomad-driver-pod/"+name)
}

// try creates a container with a runtime and removes it.
func (h *host) try(ctx context.Context, s settings, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dir, err := os.MkdirTemp(s.RunDir, probePrefix)
	if err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	r := ociruntime.Runtime{Path: path, StateDir: filepath.Join(dir, "runtime")}
	group := h.probeGroup(filepath.Base(dir))
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		h.removeProbe(ctx, dir)
	}()
	version, err := r.Version(ctx)
	if err != nil {
		return fmt.Errorf("%s does not run: %w", path, err)
	}
	if err := writeProbe(dir, group.Path(), h.profile); err != nil {
		return err
	}
	if err := r.Probe(ctx, filepath.Base(dir), dir); err != nil {
		return fmt.Errorf("%s (version %s) cannot create a container here: %w", path, version, err)
	}
	h.runtime, h.runtimeVersion = r, version
	return nil
}

// writeProbe writes a bundle with everything that a task's bundle has. Its program is
// this executable, which is never started.
func writeProbe(dir, cgroupPath, profile string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	root := filepath.Join(dir, "root")
	spec, err := ocispec.Build(ocispec.Container{
		RootHostPath: root,
		Args:         []string{"/probe"},
		Namespaces: []ocispec.Namespace{
			{Kind: specs.MountNamespace}, {Kind: specs.CgroupNamespace}, {Kind: specs.IPCNamespace},
			{Kind: specs.UTSNamespace}, {Kind: specs.PIDNamespace}, {Kind: specs.NetworkNamespace},
		},
		Mounts:     []ocispec.Mount{ocispec.BindFile(self, "/probe", true)},
		CgroupPath: cgroupPath,
		Security:   ocispec.Security{AppArmor: profile},
		Limits:     ocispec.Limits{MemoryBytes: 16 << 20, MemorySwapBytes: 16 << 20, CPUShares: 100, Processes: 16},
	})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return writeProbeBundle(dir, spec)
}

// writeProbeBundle writes a spec with the root of the directory.
func writeProbeBundle(dir string, spec *specs.Spec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := os.Mkdir(spec.Root.Path, 0o755); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// present reports whether the programs still exist. gVisor is probed apart from the host.
func (h *host) present() bool {
	for _, path := range []string{h.runtime.Path, h.monitor.Path, h.init} {
		if !exists(path) {
			return false
		}
	}
	return true
}

// find returns the path of a program: the given one, or the first in PATH and the
// directories where distributions install such programs.
func find(given, name string) (string, error) {
	if given != "" {
		if _, err := exec.LookPath(given); err != nil {
			return "", fmt.Errorf("%s from the plugin's config cannot be executed: %w", given, err)
		}
		return given, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/libexec/podman", "/usr/lib/podman"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: install the package %q", name, name)
}

func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
