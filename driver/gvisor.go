package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// runsc is the name of gVisor's runtime, as a key and as a value of the key runtime.
const runsc = "runsc"

// RuntimesConfig is the runtimes block of the plugin's configuration: runtimes that a task may name.
type RuntimesConfig struct {
	Runsc *RunscConfig `codec:"runsc"`
}

// RunscConfig is the runsc block: gVisor.
type RunscConfig struct {
	Path string   `codec:"path"`
	Args []string `codec:"args"`
}

func (c RuntimesConfig) check() error {
	if c.Runsc == nil {
		return nil
	}
	var errs []error
	if !filepath.IsAbs(c.Runsc.Path) {
		errs = append(errs, fmt.Errorf("runtimes.runsc.path = %q: want an absolute path", c.Runsc.Path))
	}
	for _, arg := range c.Runsc.Args {
		name, _, assigned := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-") || !assigned || strings.ContainsAny(arg, "\n\x00"):
			errs = append(errs, fmt.Errorf("runtimes.runsc.args: %q: want a flag of runsc with its value, such as \"--platform=kvm\"", arg))
		case slices.Contains([]string{"root", "log", "log-format", "ignore-cgroups", "systemd-cgroup", "rootless"}, name):
			errs = append(errs, fmt.Errorf("runtimes.runsc.args: %q: the driver sets this flag; leave it out", arg))
		case arg == "--network=none" || arg == "-network=none":
			errs = append(errs, fmt.Errorf("runtimes.runsc.args: %q: the network of a pod is the group's; leave it out", arg))
		}
	}
	return errors.Join(errs...)
}

// gvisor returns the runtime, or nil if the operator has none.
func (s settings) gvisor(stateDir string) *ociruntime.Runtime {
	c := s.Runtimes.Runsc
	if c == nil {
		return nil
	}
	return &ociruntime.Runtime{Path: c.Path, Args: c.Args, StateDir: stateDir, Gvisor: true}
}

// setRuntime selects the runtime.
func (s settings) setRuntime(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	switch {
	case c.Runtime == "":
		return nil
	case c.Runtime == runsc && s.Runtimes.Runsc != nil:
		t.Gvisor = true
		return s.checkGvisor(t, c, cfg)
	case c.Runtime == runsc:
		return errors.New("runtime = \"runsc\": there is no gVisor here: the operator can set runtimes { runsc { path = \"/usr/bin/runsc\" } } in the plugin's config")
	case slices.Contains([]string{"crun", "runc"}, c.Runtime):
		t.Runtime = c.Runtime
		return nil
	}
	return fmt.Errorf("runtime = %q: want \"runsc\" for gVisor, or leave runtime out for the plugin's", c.Runtime)
}

// contradiction is something that a task in a sandbox cannot have.
type contradiction struct {
	name string
	set  bool
	why  string
}

func contradictions(all ...contradiction) (errs []error) {
	for _, c := range all {
		if c.set {
			errs = append(errs, fmt.Errorf("%s and runtime = \"runsc\" contradict each other: %s", c.name, c.why))
		}
	}
	return errs
}

// takeKeys refuses keys that gVisor does not have, or that mean something else there. It removes
// them, so that no other check advises how they would be right.
func (s settings) takeKeys(c *TaskConfig) error {
	if c.Runtime != runsc || s.Runtimes.Runsc == nil {
		return nil
	}
	// If the operator requires it, checkGvisor refuses it.
	auto := !s.Userns.Required && (c.Userns == autoUserns || c.UsernsMode == autoUserns)
	errs := contradictions(
		contradiction{"privileged = true", c.Privileged, "a sandbox has no rights on the host; leave it out"},
		contradiction{"devices", len(c.Devices) > 0, "a sandbox has no devices of the host; leave it out"},
		contradiction{"cdi_devices", len(c.CDIDevices) > 0, "a sandbox has no devices of the host; leave it out"},
		contradiction{"userns = \"auto\"", auto, "gVisor has users of its own; leave it out"},
		contradiction{"pid_mode", c.PidMode != "", "the processes of a sandbox are not the host's; leave it out"},
		contradiction{"ipc_mode", c.IPCMode != "", "the memory of a sandbox is not the host's; leave it out"},
		contradiction{"uts_mode", c.UTSMode != "", "a sandbox has a host name of its own; leave it out"},
		contradiction{"sysctl", len(c.Sysctl) > 0, "gVisor's kernel has values of its own; leave it out"},
		contradiction{"cpu_hard_limit = true", c.CPUHardLimit, "the tasks of a sandbox share their CPU time; leave it out"},
		contradiction{"memory_swap", c.MemorySwap != "", "a sandbox has no swap; leave it out"},
		contradiction{"oom_score_adj", c.OOMScoreAdj != 0, "the tasks of a sandbox end together; leave it out"},
	)
	c.Privileged, c.Devices, c.CDIDevices, c.Sysctl, c.CPUHardLimit = false, nil, nil, nil, false
	c.PidMode, c.IPCMode, c.UTSMode, c.MemorySwap, c.OOMScoreAdj = "", "", "", "", 0
	if auto {
		c.Userns, c.UsernsMode = "", ""
	}
	var options []string
	for _, opt := range c.SecurityOpt {
		if opt == "no-new-privileges" || opt == "no-new-privileges=true" || opt == "no-new-privileges:true" {
			options = append(options, opt)
			continue
		}
		errs = append(errs, fmt.Errorf("security_opt = [%q] and runtime = \"runsc\" contradict each other: gVisor's kernel confines the task; leave it out", opt))
	}
	c.SecurityOpt = options
	return errors.Join(errs...)
}

// checkGvisor refuses what gVisor does not do and takeKeys does not see.
func (s settings) checkGvisor(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	errs := contradictions(
		contradiction{"userns = \"auto\"", t.Userns, "gVisor has users of its own; let the operator set userns { required = false }"},
		contradiction{"resources { cores }", t.Limits.CPUSet != "" || reservedCores(cfg), "the tasks of a sandbox share their processors; use resources { cpu }"},
		contradiction{"share", c.Share != nil && !(t.Share.IPC && t.Share.UTS), "all tasks of a sandbox share \"ipc\" and \"uts\"; add them"},
		contradiction{"network { mode = \"host\" }", t.Network == pod.Network{}, "a sandbox would take the host's addresses; set mode = \"bridge\" or \"none\" in the group's network block"},
		contradiction{"resources { device }", len(cfg.Devices) > 0, "a sandbox has no devices of the host; leave it out"},
		contradiction{"propagation_mode of a volume_mount", slices.ContainsFunc(cfg.Mounts, propagates), "a sandbox does not see later mounts; leave it out"},
	)
	for _, m := range t.Mounts {
		if m.Propagates() {
			errs = append(errs, fmt.Errorf("propagation of the mount at %s and runtime = \"runsc\" contradict each other: a sandbox does not see later mounts; leave it out", m.Target))
		}
	}
	return errors.Join(append(errs, s.checkGvisorChecks(c)...)...)
}

func propagates(m *drivers.MountConfig) bool { return propagation(m.PropagationMode) != "rprivate" }

func reservedCores(cfg *drivers.TaskConfig) bool {
	r := cfg.Resources
	return r != nil && r.NomadResources != nil && len(r.NomadResources.Cpu.ReservedCores) > 0
}

// checkGvisorChecks refuses addresses that only programs in the sandbox can reach.
func (s settings) checkGvisorChecks(c TaskConfig) (errs []error) {
	if s.gvisor("").HostNetwork() {
		return nil
	}
	check := func(key, address string) {
		host, _, _ := net.SplitHostPort(address)
		if strings.Contains(address, "://") {
			if u, err := url.Parse(address); err == nil {
				host = u.Hostname()
			}
		}
		if address != "" && host != "" && host != "localhost" && host != "127.0.0.1" {
			errs = append(errs, fmt.Errorf("%s = %q and runtime = \"runsc\" contradict each other: the driver reaches a port of the sandbox at 127.0.0.1 only; use that address, or exec", key, address))
		}
	}
	if c.Ready != nil {
		check("ready.http", c.Ready.HTTP)
		check("ready.tcp", c.Ready.TCP)
	}
	if c.Live != nil {
		check("live.http", c.Live.HTTP)
		check("live.tcp", c.Live.TCP)
	}
	return errs
}

// checkRuntime refuses a runtime that this host does not have. Only the author of the job or the
// operator can change the plugin's runtime, but runsc may work later.
func (h *host) checkRuntime(ctx context.Context, t pod.Task) error {
	if t.Runtime != "" && t.Runtime != h.runtime.Name() {
		return fmt.Errorf("%w: task %q: runtime = %q: the plugin's runtime is %s here; leave runtime out, or constrain the job to ${attr.driver.pod.runtime}",
			errTaskConfig, t.Name, t.Runtime, h.runtime.Name())
	}
	if !t.Gvisor || h.gvisor == nil {
		return nil
	}
	if _, err := h.gvisor.result(ctx); err != nil {
		return fmt.Errorf("task %q: runtime = \"runsc\": %w", t.Name, err)
	}
	return nil
}

// gvisorRetry is how long a failure of runsc is remembered while its file does not change.
const gvisorRetry = time.Minute

// gvisorProbe remembers whether gVisor works. It is probed again when its file has changed, and some
// time after a failure.
type gvisorProbe struct {
	path string
	run  func(context.Context) (version string, err error)

	mu      sync.Mutex // held during a probe, which can be slow
	file    ociruntime.FileID
	at      time.Time // the begin of the last probe; zero: none
	version string
	err     error
}

// result returns the version of runsc, even if there is an error, which says why it does not work.
func (p *gvisorProbe) result(ctx context.Context) (version string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	file, _ := ociruntime.Identify(p.path) // the probe returns the error
	now := time.Now()
	if !p.at.IsZero() && file == p.file && (p.err == nil || now.Sub(p.at) < gvisorRetry) {
		return p.version, p.err
	}
	version, err = p.run(ctx)
	if ctx.Err() != nil { // it shows nothing
		return "", ctx.Err()
	}
	p.file, p.at, p.version, p.err = file, now, version, err
	return version, err
}

// tryGvisor starts a sandbox. It returns the version of runsc, and why gVisor does not work here.
func (h *host) tryGvisor(ctx context.Context, s settings, timeout time.Duration) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dir, err := os.MkdirTemp(s.RunDir, probePrefix)
	if err != nil {
		return "", fmt.Errorf("run_dir: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		h.removeProbe(ctx, dir)
	}()
	r := *s.gvisor(filepath.Join(dir, "runtime"))
	if _, err := find(r.Path, runsc); err != nil {
		return "", err
	}
	version, err = r.Version(ctx)
	if err == nil {
		if err = h.probeSandbox(ctx, r, dir); err != nil {
			err = fmt.Errorf("%s (version %s) cannot create a sandbox here: %w", r.Path, version, err)
		}
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%s: the probe of a sandbox took longer than %s", r.Path, timeout)
	}
	return version, err
}

func (h *host) probeSandbox(ctx context.Context, r ociruntime.Runtime, dir string) error {
	group := h.probeGroup(filepath.Base(dir))
	groups, err := group.Files()
	if err != nil {
		return err
	}
	if err := group.Limit(cgroup.Limits{Memory: 256 << 20, Processes: 512}); err != nil {
		return err
	}
	spec, err := ocispec.Build(ocispec.Container{
		RootHostPath: filepath.Join(dir, "root"), Args: []string{"/probe", "-P"},
		Namespaces: []ocispec.Namespace{
			{Kind: specs.MountNamespace}, {Kind: specs.IPCNamespace}, {Kind: specs.UTSNamespace},
			{Kind: specs.PIDNamespace}, {Kind: specs.NetworkNamespace},
		},
		Mounts:      []ocispec.Mount{ocispec.BindFile(h.init, "/probe", true)},
		Annotations: map[string]string{ociruntime.GvisorType: ociruntime.GvisorSandbox},
	})
	if err != nil {
		return err
	}
	spec.Linux.Seccomp, spec.Linux.Resources = nil, nil
	if err := writeProbeBundle(dir, spec); err != nil {
		return err
	}
	id := filepath.Base(dir)
	if _, err = r.RunSandbox(ctx, id, dir, groups); err != nil {
		return err
	}
	return r.Delete(ctx, id)
}
