package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
)

// defaultPath is the PATH of a task whose image and author set none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// rootfs is the root file system of a task as it was made.
type rootfs struct {
	hostPath string
	userDir  string // where /etc/passwd is looked up
	mounts   []ocispec.Mount
	config   image.ImageConfig
}

// buildSpec puts the runtime-spec of a task together.
func (p *pod) buildSpec(t Task, root rootfs) (*specs.Spec, error) {
	args := t.Process.args(root.config)
	if len(args) == 0 {
		return nil, fmt.Errorf("%w: image %s has no command: set \"command\" or \"entrypoint\"", ErrInvalid, t.Image.Reference)
	}
	who := firstOf(t.Process.User, root.config.User)
	if who == "" && t.Image == nil {
		who = hostUser
	}
	user, err := lookupUser(root.userDir, who)
	if err != nil {
		return nil, err
	}
	mounts := append(slices.Clone(root.mounts), p.volumeMounts(t)...)
	if shm := p.shmSource(t); shm != "" {
		mounts = append(mounts, ocispec.Mount{Target: "/dev/shm", Source: shm, Type: "bind",
			Options: []string{"bind", "rw", "nosuid", "nodev", "noexec", "rprivate"}})
	}
	c := ocispec.Container{
		RootHostPath: root.hostPath,
		ReadonlyRoot: t.ReadonlyRoot,
		Args:         args,
		Env:          environment(root.config.Env, t.Process.Env),
		WorkDir:      firstOf(t.Process.WorkDir, root.config.WorkingDir),
		User:         user,
		Namespaces:   p.namespaces(t),
		Mounts:       append(mounts, t.Mounts...),
		CgroupPath:   t.CgroupPath,
		Limits:       t.Limits,
		Capabilities: t.Capabilities,
		Annotations:  map[string]string{"org.nomadproject.alloc_id": t.AllocID, "org.nomadproject.task": t.Name},
	}
	if !t.Share.UTS && !t.HostNamespaces.UTS {
		c.Hostname = t.Hostname
	}
	if c.Devices, c.DeviceRules, err = devices(t.Devices); err != nil {
		return nil, err
	}
	return ocispec.Build(c)
}

// shmSource is what goes with the task's IPC namespace at /dev/shm; empty is
// a new one.
func (p *pod) shmSource(t Task) string {
	switch {
	case t.Share.IPC:
		return p.shmDir()
	case t.HostNamespaces.IPC:
		return "/dev/shm"
	}
	return ""
}

// devices reads what kind of device each is, for the node and for the rule
// that lets the task use it.
func devices(list []Device) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for _, d := range list {
		var st unix.Stat_t
		if err := unix.Stat(d.HostPath, &st); err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", d.HostPath, err)
		}
		kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
		if kind == "" {
			return nil, nil, fmt.Errorf("%w: device %s is not a device", ErrInvalid, d.HostPath)
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		mode := os.FileMode(st.Mode & 0o777)
		nodes = append(nodes, specs.LinuxDevice{Path: firstOf(d.TaskPath, d.HostPath), Type: kind,
			Major: major, Minor: minor, FileMode: &mode, UID: &st.Uid, GID: &st.Gid})
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor,
			Access: firstOf(d.Permissions, "rwm")})
	}
	return nodes, rules, nil
}

// environment merges NAME=value lists; a later list wins. The result is in
// the order of first appearance.
func environment(lists ...[]string) []string {
	at := map[string]int{}
	var out []string
	for _, list := range append([][]string{{"PATH=" + defaultPath}}, lists...) {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			if i, ok := at[name]; ok {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func writeSpec(bundle string, s *specs.Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write runtime-spec: %w", err)
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600)
}

func readSpec(bundle string) (*specs.Spec, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read runtime-spec: %w", err)
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read runtime-spec: %w", err)
	}
	return &s, nil
}
