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

// setMounts adds what every task of Nomad has: its directories, the names and
// addresses it knows, and the volumes of the job. It writes hosts and
// resolv.conf in the allocation's directory, and is called when all else is
// known to be right.
func setMounts(t *pod.Task, cfg *drivers.TaskConfig) error {
	dir := cfg.TaskDir()
	// Every local user can write to the task's directory and to the shared one,
	// and put links there. Only root can write to the directory above.
	t.Beneath = append(t.Beneath,
		pod.Beneath{DirHostPath: cfg.AllocDir, Name: filepath.Base(dir.SharedAllocDir), Target: "/alloc"},
		pod.Beneath{DirHostPath: dir.Dir, Name: filepath.Base(dir.LocalDir), Target: "/local"},
		pod.Beneath{DirHostPath: dir.Dir, Name: filepath.Base(dir.SecretsDir), Target: "/secrets"},
		// Log files are written by Nomad as root: CVE-2026-6959.
		pod.Beneath{DirHostPath: dir.SharedAllocDir, Name: logsDir, Target: "/alloc/logs", Readonly: true},
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

// nameMounts gives the task /etc/hosts and /etc/resolv.conf, unless its config
// mounts something there.
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

// resolvTarget is the resolver's configuration in a task.
const resolvTarget = "/etc/resolv.conf"

// resolvConf returns the resolver's configuration for a group's dns block, or
// the host's. Nomad's library writes it to a file by name; in the task's
// directory that could be a link.
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

// propagation of Nomad's volume_mount in the words of mount(8).
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
		// What is there is for its devices, such as the host's /dev that a CSI
		// plugin has; the task's cgroup tells which of them it may use.
		b.Options = slices.DeleteFunc(b.Options, func(o string) bool { return o == "nodev" })
	}
	return b, nil
}
