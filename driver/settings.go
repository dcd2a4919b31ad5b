package driver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// settings is a validated PluginConfig.
type settings struct {
	PluginConfig
	hostPaths       []pod.HostPath
	sharedMemoryMax int64
	podLinger       time.Duration
	pullTimeout     time.Duration
	pullIdleTimeout time.Duration // 0: the pull's own timeout
	gcDelay         time.Duration // 0: images are kept
	gcHigh, gcLow   int           // percent; gcHigh 0: no limit
	ceilings        ceilings
	deniedUIDs      []idRange // for tasks without an image
	deniedGIDs      []idRange
	pool            userns.Pool // without a directory
}

// defaultHostPaths are the default host paths of a task without an image: programs,
// libraries, and the files they need in /etc. They contain only files that every user of
// the host can read. Missing paths are skipped.
func defaultHostPaths() []string {
	return []string{
		"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr", "/opt/nomad-sidecar",
		"/etc/alternatives", "/etc/ca-certificates", "/etc/group", "/etc/ld.so.cache",
		"/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
		"/etc/nsswitch.conf", "/etc/passwd", "/etc/pki", "/etc/protocols",
		"/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
	}
}

// newSettings validates a plugin configuration. It reports all errors together, and
// has no side effects.
func newSettings(c PluginConfig) (settings, error) {
	s := settings{PluginConfig: c}
	var errs []error
	duration := func(key, value string) time.Duration {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("%s = %q: want a duration such as \"30s\" or \"5m\"", key, value))
		}
		return d
	}
	s.podLinger = duration("pod_linger", c.PodLinger)
	s.pullTimeout = duration("image.pull_timeout", c.Image.PullTimeout)
	s.pullIdleTimeout = duration("image.pull_activity_timeout", c.Image.PullActivityTimeout)
	if c.Image.GC {
		// With no delay an image could be removed between its pull and its use.
		s.gcDelay = max(duration("image.gc_delay", c.Image.GCDelay), time.Second)
	}
	var gcErr error
	if s.gcHigh, s.gcLow, gcErr = c.Image.limits(); gcErr != nil {
		errs = append(errs, gcErr)
	}
	errs = append(errs, c.checkPaths()...)
	if c.LogCollector != collectorPod && c.LogCollector != collectorNomad {
		errs = append(errs, fmt.Errorf("log_collector = %q: want \"pod\" or \"nomad\"", c.LogCollector))
	}
	errs = append(errs, c.checkLogIndex())
	var cerr error
	if s.ceilings, cerr = newCeilings(c); cerr != nil {
		errs = append(errs, cerr)
	}
	if c.PidsLimit < 0 {
		errs = append(errs, fmt.Errorf("pids_limit = %d: want a number of processes, or 0 for no limit", c.PidsLimit))
	}
	var err error
	if s.sharedMemoryMax, err = sharedMemoryMax(c.SharedMemoryMax); err != nil {
		errs = append(errs, err)
	}
	if s.deniedUIDs, err = parseIDs(c.DeniedHostUIDs); err != nil {
		errs = append(errs, fmt.Errorf("denied_host_uids: %w", err))
	}
	if s.deniedGIDs, err = parseIDs(c.DeniedHostGIDs); err != nil {
		errs = append(errs, fmt.Errorf("denied_host_gids: %w", err))
	}
	if s.hostPaths, err = hostPaths(c.HostPaths); err != nil {
		errs = append(errs, err)
	}
	if s.pool, err = c.Userns.pool(); err != nil {
		errs = append(errs, err)
	}
	return s, errors.Join(append(errs, c.Runtimes.check(), checkCaps("allow_caps", c.AllowCaps), c.AllowedModes.check(), c.Metrics.check())...)
}

// checkPaths returns an error for each path and pattern that cannot be one.
func (c PluginConfig) checkPaths() (errs []error) {
	for key, path := range map[string]string{
		"runtime": c.Runtime, "conmon": c.Conmon, "data_dir": c.DataDir, "run_dir": c.RunDir,
		"image.auth_file": c.Image.AuthFile, "image.registries_conf": c.Image.RegistriesConf,
		"image.signature_policy": c.Image.SignaturePolicy,
	} {
		if path != "" && !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s = %q: want an absolute path", key, path))
		}
	}
	if strings.Contains(c.RunDir, ",") {
		// runc passes the paths of namespaces in a comma-separated list.
		errs = append(errs, fmt.Errorf("run_dir = %q: want a path without a comma", c.RunDir))
	}
	for _, path := range c.Image.Paths {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("image.paths: %q: want an absolute path", path))
		}
	}
	for _, path := range c.Image.AdditionalStores {
		if !filepath.IsAbs(path) || strings.Contains(path, ",") {
			errs = append(errs, fmt.Errorf("image.additional_stores: %q: want an absolute path without a comma", path))
		}
	}
	for _, pattern := range c.AllowDevices {
		if _, err := filepath.Match(pattern, ""); err != nil || !filepath.IsAbs(pattern) && !isCDIPattern(pattern) {
			errs = append(errs, fmt.Errorf("allow_devices: %q: want a path such as \"/dev/fuse\" or \"/dev/dri/*\", or a CDI device such as \"vendor.com/class=*\"", pattern))
		}
	}
	for _, dir := range c.CDISpecDirs {
		if !filepath.IsAbs(dir) {
			errs = append(errs, fmt.Errorf("cdi_spec_dirs: %q: want an absolute path", dir))
		}
	}
	return errs
}

// check returns an error for each pattern that matches no value of a task's key.
func (m AllowedModes) check() error {
	var errs []error
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"pid", m.PID}, {"ipc", m.IPC}, {"uts", m.UTS}, {"userns", m.Userns}} {
		for _, pattern := range list.patterns {
			if ok, err := path.Match(pattern, hostMode); err != nil || !ok {
				errs = append(errs, fmt.Errorf("allowed_modes.%s: %q matches no mode of this driver: want \"host\"", list.key, pattern))
			}
		}
	}
	return errors.Join(errs...)
}

// allowsHost reports whether a task may join the host's namespace of a kind: pid, ipc or uts.
// check has verified that each pattern matches "host".
func (s settings) allowsHost(kind string) bool {
	patterns := map[string][]string{"pid": s.AllowedModes.PID, "ipc": s.AllowedModes.IPC, "uts": s.AllowedModes.UTS}[kind]
	return s.AllowHostNamespaces || len(patterns) > 0
}

// sharedMemoryMax parses the maximum size of a pod's shared memory. It is capped at
// the host's memory, so that sums of parts cannot overflow.
func sharedMemoryMax(text string) (int64, error) {
	if text == "" {
		return pod.DefaultSharedMemoryMax, nil
	}
	const most = 1 << 50
	n, err := parseSize(text)
	if err != nil || n < pod.MinSharedMemoryMax || n > most {
		return 0, fmt.Errorf("shared_memory_max = %q: want a size from %q to %q, such as \"256m\"", text, "32m", "1024t")
	}
	return n, nil
}

func hostPaths(given []string) ([]pod.HostPath, error) {
	list := given
	if len(given) == 0 {
		list = defaultHostPaths()
		// Debian's JDK has links to its configuration there. The pattern is valid.
		java, _ := filepath.Glob("/etc/java-*")
		list = append(list, java...)
	}
	var out []pod.HostPath
	for _, text := range list {
		p, err := pod.ParseHostPath(text)
		if err != nil {
			return nil, fmt.Errorf("host_paths: %w", err)
		}
		if _, err := os.Lstat(p.HostPath); err != nil {
			if len(given) == 0 {
				continue
			}
			return nil, fmt.Errorf("host_paths: %q: %w", text, err)
		}
		out = append(out, p)
	}
	return out, nil
}
