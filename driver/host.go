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

// host is what this machine has to run pods with.
type host struct {
	cgroups cgroup.Version

	runtime        ociruntime.Runtime
	runtimeVersion string
	// passedOver says why a runtime that comes first is not used.
	passedOver string

	monitor        ociruntime.Monitor
	monitorVersion string

	init string

	// profile is the AppArmor profile of tasks. It is empty if there is none;
	// unprotected then explains why, unless the host has no AppArmor.
	profile, unprotected string
}

// probeTimeout bounds the look at one runtime.
const probeTimeout = 20 * time.Second

// findHost looks for the programs that the driver needs and tries out that
// they work here: a runtime that is installed may still refuse the kernel's
// cgroups. The error says what to install or change.
func findHost(ctx context.Context, s settings) (*host, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the driver needs to run as root: run the Nomad client as root")
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

// chooseRuntime takes the operator's, or the first of crun and runc that can
// make a container.
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

// probePrefix begins the names of what a look at a runtime makes.
const probePrefix = "probe-"

// began is when this process did.
var began = time.Now()

// removeStale removes what the looks of an earlier process left that was killed
// in the middle: a container that waits for its start, and files. What can not
// be removed is no reason not to run tasks; the next process tries again.
func (h *host) removeStale(ctx context.Context, s settings) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	entries, _ := os.ReadDir(s.RunDir) // try says what is wrong with it
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

// removeProbe removes what a look at a runtime made, also where the runtime was
// cut off and knows nothing of it. The directory, by which the rest is found,
// stays where that can not be removed, for the next process to try again.
func (h *host) removeProbe(ctx context.Context, dir string) {
	group := h.probeGroup(filepath.Base(dir))
	if group.Kill(ctx) == nil && group.Remove() == nil {
		_ = os.RemoveAll(dir)
	}
	_ = cgroup.At(h.cgroups, "/nomad-driver-pod").Prune()
}

func (h *host) probeGroup(name string) cgroup.Group {
	return cgroup.At(h.cgroups, "/nomad-driver-pod/"+name)
}

// try makes a container with a runtime and removes it again.
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
		return fmt.Errorf("%s (version %s) can not make a container here: %w", path, version, err)
	}
	h.runtime, h.runtimeVersion = r, version
	return nil
}

// writeProbe makes a bundle with all that a task's has. Its program is this
// one, which is never started.
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
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
}

// present tells whether the programs are still there.
func (h *host) present() bool {
	for _, path := range []string{h.runtime.Path, h.monitor.Path, h.init} {
		if _, err := os.Stat(path); err != nil {
			return false
		}
	}
	return true
}

// find returns the path of a program: the one given, or what PATH and the
// places where distributions put such programs have.
func find(given, name string) (string, error) {
	if given != "" {
		if _, err := exec.LookPath(given); err != nil {
			return "", fmt.Errorf("%s, which the plugin's config names, can not be run: %w", given, err)
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
