package driver

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// taskFrom converts Nomad's task config to a pod.Task. It checks everything that can
// be checked without side effects, and its errors name the wrong key.
func (s settings) taskFrom(cfg *drivers.TaskConfig, v cgroup.Version) (pod.Task, error) {
	var c TaskConfig
	if err := cfg.DecodeDriverConfig(&c); err != nil {
		return pod.Task{}, fmt.Errorf("decode task config: %w", err)
	}
	if err := checkSizes(c, cfg); err != nil {
		return pod.Task{}, err
	}
	contradicts := s.takeKeys(&c)
	t := pod.Task{
		ID: cfg.ID, AllocID: cfg.AllocID, Name: cfg.Name,
		Hostname:       hostname(c, cfg),
		Network:        network(cfg.NetworkIsolation),
		ReadonlyRoot:   c.ReadonlyRootfs,
		CgroupPath:     cgroupPath(v, cfg),
		StdoutHostPath: cfg.StdoutPath, StderrHostPath: cfg.StderrPath, AllocDirHostPath: cfg.AllocDir,
		Process: pod.Process{
			Entrypoint: c.Entrypoint, Env: cfg.EnvList(), WorkDir: c.WorkDir, User: cfg.User,
			Groups: c.GroupAdd, Init: c.Init,
		},
		Labels: c.Labels,
	}
	if c.Image == "" {
		t.AllowUser = s.allowHostUser
	}
	if c.Command != "" {
		t.Process.Command = append([]string{c.Command}, c.Args...)
	} else {
		t.Process.Command = c.Args
	}
	err := errors.Join(
		contradicts,
		checkTask(c),
		checkCompat(cfg),
		s.setShare(&t, c),
		setPod(&t, c),
		s.setImage(&t, c, cfg),
		s.setSecurity(&t, c),
		s.setLimits(&t, c, cfg, v),
		s.setVolumes(&t, c, cfg),
		s.setDevices(&t, c),
		s.setCDI(&t, c, cfg),
		s.setRuntime(&t, c, cfg),
		setHosts(&t, c, cfg),
		s.setLogs(&t, c, cfg),
	)
	if err == nil {
		err = pod.CheckShared(t, s.sharedMemoryMax)
	}
	return t, err
}

var foreignToHostname = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// hostnameFault returns which rule a host name breaks, or "".
func hostnameFault(name string) string {
	const most = 64 // the kernel's (uname(2))
	switch foreign := foreignToHostname.FindString(name); {
	case foreign != "":
		return fmt.Sprintf("has %q: want only letters, digits, dots and dashes", foreign)
	case len(name) > most:
		return fmt.Sprintf("has %d characters: want at most %d", len(name), most)
	case strings.Trim(name, ".-") != name:
		return "begins or ends with a dot or a dash: want a letter or digit there"
	}
	return ""
}

// checkTask rejects invalid values and combinations.
func checkTask(c TaskConfig) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Image == "" {
		for key, set := range map[string]bool{
			"image_pull_policy": c.ImagePullPolicy != "", "image_pull_timeout": c.ImagePullTimeout != "" && !c.mountsImage(),
			"auth": c.Auth != AuthConfig{}, "platform": c.Platform != "" && !c.mountsImage(),
			"force_pull": c.ForcePull, "entrypoint": len(c.Entrypoint) > 0,
		} {
			if set {
				bad("%s is set and image is not: set image, or leave %s out", key, key)
			}
		}
		if c.Command == "" {
			bad("command is missing: set command to the program to run, or image to an image that has one")
		}
	}
	if c.WorkDir != "" && !filepath.IsAbs(c.WorkDir) {
		bad("work_dir = %q: want an absolute path", c.WorkDir)
	}
	if fault := hostnameFault(c.Hostname); fault != "" {
		bad("hostname = %q %s", c.Hostname, fault)
	}
	if c.Hostname != "" && c.UTSMode == hostMode {
		bad("hostname and uts_mode = \"host\" contradict each other: the host's name cannot be changed")
	}
	if c.ForcePull && c.ImagePullPolicy != "" && c.ImagePullPolicy != string(image.PullAlways) {
		bad("force_pull and image_pull_policy = %q contradict each other: leave one of them out", c.ImagePullPolicy)
	}
	if c.TTY {
		bad("tty = true: a task has no terminal, since its output goes to Nomad's logs unchanged: leave tty out, and use \"nomad alloc exec -t\" for a terminal")
	}
	for k := range c.Labels {
		if k == "" {
			bad("labels: one has no name")
		}
	}
	if c.PidsLimit < 0 {
		bad("pids_limit = %d: want a number above 0, up to the operator's pids_limit, or leave it out for the operator's", c.PidsLimit)
	}
	return errors.Join(errs...)
}

// hostMode is the only value of pid_mode, ipc_mode and uts_mode.
const hostMode = "host"

// setShare selects for each kind of namespace: the pod's, the task's own, or the
// host's.
func (s settings) setShare(t *pod.Task, c TaskConfig) error {
	modes := map[string]string{"pid": c.PidMode, "ipc": c.IPCMode, "uts": c.UTSMode}
	share := c.Share
	if share == nil {
		share = []string{"ipc", "uts"}
		share = slices.DeleteFunc(share, func(k string) bool { return modes[k] != "" })
	}
	var errs []error
	for _, k := range share {
		if _, ok := modes[k]; !ok {
			errs = append(errs, fmt.Errorf("share: %q is not a namespace that can be shared: want \"ipc\", \"uts\" or \"pid\"", k))
		}
	}
	for _, k := range []string{"pid", "ipc", "uts"} {
		key, value := k+"_mode", modes[k]
		switch {
		case value == "":
		case value != hostMode:
			errs = append(errs, fmt.Errorf("%s = %q: want \"host\"; to share with the pod's other tasks use share = [%q], for a namespace of its own leave %q out of share", key, value, k, k))
		case slices.Contains(share, k):
			errs = append(errs, fmt.Errorf("share = [%q] and %s = \"host\" contradict each other: leave one of them out", k, key))
		case !s.allowsHost(k):
			errs = append(errs, fmt.Errorf("%s = \"host\" is not allowed here: the operator can set allowed_modes { %s = [\"host\"] } "+
				"or allow_host_namespaces = true in the plugin's config", key, k))
		}
	}
	t.Share = pod.Share{
		IPC: slices.Contains(share, "ipc"), UTS: slices.Contains(share, "uts"), PID: slices.Contains(share, "pid"),
	}
	t.HostNamespaces = pod.Share{IPC: c.IPCMode == hostMode, UTS: c.UTSMode == hostMode, PID: c.PidMode == hostMode}
	return errors.Join(errs...)
}

// cgroupPath returns the task's cgroup. On v2 Nomad passes the full path; on v1 only
// the path in the cpuset hierarchy, and the task's own cgroup has the name that Nomad
// uses in the other hierarchies (client/lib/cgroupslib, ScopeCG1).
func cgroupPath(v cgroup.Version, cfg *drivers.TaskConfig) string {
	given := givenGroup(cfg)
	scope := cfg.AllocID + "." + cfg.Name
	if v == cgroup.V2 {
		if given == "" {
			return filepath.Join("/nomad.slice/share.slice", scope+".scope")
		}
		return strings.TrimPrefix(given, cgroup.Root)
	}
	parent := "/nomad"
	if rest, ok := strings.CutPrefix(given, filepath.Join(cgroup.Root, "cpuset")); ok {
		// PARENT/share, or PARENT/reserve/SCOPE
		rest = strings.TrimSuffix(rest, "/"+scope)
		parent = filepath.Dir(rest)
	}
	return filepath.Join(parent, scope)
}

// givenGroup returns the cgroup directory that Nomad created for the task.
func givenGroup(cfg *drivers.TaskConfig) string {
	if cfg.Resources == nil || cfg.Resources.LinuxResources == nil {
		return ""
	}
	return cfg.Resources.LinuxResources.CpusetCgroupPath
}

// hostname returns the host name of the pod: the task's setting, Nomad's for the
// group, or the short allocation ID.
func hostname(c TaskConfig, cfg *drivers.TaskConfig) string {
	if c.Hostname != "" {
		return c.Hostname
	}
	if n := cfg.NetworkIsolation; n != nil && n.HostsConfig != nil && n.HostsConfig.Hostname != "" {
		return n.HostsConfig.Hostname
	}
	return shortID(cfg.AllocID)
}

// shortID returns the beginning of an allocation ID, as Nomad shows it. One in 43 has
// only digits and is extended: inet_aton(3), and so getaddrinfo(3), would read such
// a name as an address, 75579251 as 0x04813f73.
func shortID(id string) string {
	const group, groups = len("01234567"), len("01234567-89ab")
	short := id[:min(group, len(id))]
	if strings.Trim(short, "0123456789") == "" {
		return id[:min(groups, len(id))]
	}
	return short
}

func network(spec *drivers.NetworkIsolationSpec) pod.Network {
	if spec == nil {
		return pod.Network{}
	}
	return pod.Network{NamespaceHostPath: spec.Path, None: spec.Path == "" && spec.Mode == drivers.NetIsolationModeNone}
}

func firstNonEmpty(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
