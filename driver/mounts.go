package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/nomad/drivers/shared/resolvconf"
	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// setMounts adds what every Nomad task has: its directories, hosts and resolver
// files, and the job's volumes. It writes hosts and resolv.conf in the allocation's
// directory, so it must run after all checks.
func setMounts(t *pod.Task, cfg *drivers.TaskConfig) error {
	dir := cfg.TaskDir()
	// Every local user can write to the task's directory and to the shared one,
	// and create links there. Only root can write to their parent.
	t.UntrustedBinds = append(t.UntrustedBinds,
		pod.UntrustedBind{DirHostPath: cfg.AllocDir, Name: filepath.Base(dir.SharedAllocDir), Target: "/alloc"},
		pod.UntrustedBind{DirHostPath: dir.Dir, Name: filepath.Base(dir.LocalDir), Target: "/local"},
		pod.UntrustedBind{DirHostPath: dir.Dir, Name: filepath.Base(dir.SecretsDir), Target: "/secrets"},
		// Nomad writes log files as root: CVE-2026-6959.
		pod.UntrustedBind{DirHostPath: dir.SharedAllocDir, Name: logsDir, Target: "/alloc/logs", Readonly: true},
	)
	names, err := nameMounts(t, cfg)
	if err != nil {
		return err
	}
	for _, m := range append(names, cfg.Mounts...) {
		b, err := bindFrom(m)
		if err != nil {
			return err
		}
		t.Mounts = append(t.Mounts, b)
	}
	for _, d := range cfg.Devices {
		t.Devices = append(t.Devices, pod.Device{HostPath: d.HostPath, TaskPath: d.TaskPath, Permissions: d.Permissions})
	}
	return nil
}

// nameMounts mounts /etc/hosts and /etc/resolv.conf, unless the task's config mounts
// something there.
func nameMounts(t *pod.Task, cfg *drivers.TaskConfig) ([]*drivers.MountConfig, error) {
	var out []*drivers.MountConfig
	taken := targets(*t)
	if !slices.Contains(taken, hostsTarget) {
		hosts, err := hostsMount(t, cfg)
		if err != nil {
			return nil, fmt.Errorf("make /etc/hosts: %w", err)
		}
		if hosts != nil {
			out = append(out, hosts)
		}
	}
	if !slices.Contains(taken, resolvTarget) {
		content, err := resolvConf(reachableDNS(t.Network, cfg.DNS, hostResolvers()))
		if err != nil {
			return nil, fmt.Errorf("make /etc/resolv.conf: %w", err)
		}
		t.Files = append(t.Files, pod.File{Target: resolvTarget, Content: content, Readonly: true})
	}
	return slices.DeleteFunc(out, func(m *drivers.MountConfig) bool {
		_, err := os.Stat(m.HostPath)
		return err != nil
	}), nil
}

// resolvTarget is the path of resolv.conf in a task.
const resolvTarget = "/etc/resolv.conf"

// resolvConf returns the resolver configuration for a group's dns block, or the
// host's. Nomad's library would write it to a file by name, and in the task's
// directory that name could be a link.
func resolvConf(dns *drivers.DNSConfig) (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "resolv-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := resolvconf.GenerateDNSMount(dir, dns)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(m.HostPath)
}

// propagation converts the mode of a volume_mount to a mount(8) option.
func propagation(mode string) string {
	switch mode {
	case "host-to-task":
		return "rslave"
	case "bidirectional":
		return "rshared"
	}
	return "rprivate"
}

func bindFrom(m *drivers.MountConfig) (ocispec.Mount, error) {
	info, err := os.Stat(m.HostPath)
	if err != nil {
		return ocispec.Mount{}, fmt.Errorf("mount %s: %w", m.TaskPath, err)
	}
	bind := ocispec.BindFile
	if info.IsDir() {
		bind = ocispec.Bind
	}
	b := bind(m.HostPath, m.TaskPath, m.Readonly)
	b.Options[len(b.Options)-1] = propagation(m.PropagationMode)
	if isOrBelow(filepath.Clean(m.TaskPath), "/dev") {
		// The mount exists for its devices, such as the host's /dev of a CSI plugin;
		// the task's cgroup limits which ones it may use.
		b.Options = slices.DeleteFunc(b.Options, func(o string) bool { return o == "nodev" })
	}
	return b, nil
}
