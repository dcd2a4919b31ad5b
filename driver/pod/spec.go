package pod

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

// defaultPath is the PATH of a task if neither its image nor its author sets one.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// rootfs is the created root file system of a task.
type rootfs struct {
	hostPath string
	userDir  string // where /etc/passwd and /etc/group are read
	mounts   []ocispec.Mount
	config   image.ImageConfig
}

// buildSpec builds the runtime-spec of a task.
func (p *pod) buildSpec(t Task, root rootfs) (*specs.Spec, error) {
	args := t.Process.args(root.config)
	if len(args) == 0 || args[0] == "" {
		return nil, t.Image.explain(mistakef("no command, or an empty one: set \"command\" or \"entrypoint\""))
	}
	if err := t.checkNUL(root.config); err != nil {
		return nil, err
	}
	user, home, err := t.user(root)
	if err != nil {
		return nil, err
	}
	env := environment(t.defaultEnv(home), valid(root.config.Env), valid(t.Process.Env))
	if err := checkExec(args, env); err != nil {
		return nil, err
	}
	mounts := append(slices.Clone(root.mounts), p.volumeMounts(t)...)
	if t.Process.Init {
		args = append([]string{initPath, "--"}, args...)
		mounts = append(mounts, ocispec.BindFile(p.m.cfg.Init, initPath, true))
	}
	mounts = append(mounts, p.shmMounts(t)...)
	c := ocispec.Container{
		RootHostPath: root.hostPath,
		ReadonlyRoot: t.ReadonlyRoot,
		Args:         args,
		Env:          env,
		WorkDir:      filepath.Join("/", firstOf(t.Process.WorkDir, root.config.WorkingDir)),
		User:         user,
		Namespaces:   p.namespaces(t),
		Mounts:       keepFlags(outerFirst(append(mounts, t.Mounts...))),
		CgroupPath:   t.CgroupPath,
		Limits:       t.Limits,
		Capabilities: t.Capabilities,
		Ambient:      t.Ambient,
		Security:     t.Security,
		Unconfined:   t.Privileged,
		Rlimits:      t.Rlimits,
		Sysctl:       t.sysctl(),
		OOMScoreAdj:  t.OOMScoreAdj,
		Annotations:  annotations(t, root.config.Labels),
		SysHostPath:  t.users.sysOf(p.taskDir(containerID(t.AllocID, t.Name, t.ID)), t.Network),
	}
	if !t.Share.UTS && !t.HostNamespaces.UTS {
		c.Hostname = t.Hostname
	}
	if c.Devices, c.DeviceRules, err = t.devices(); err != nil {
		return nil, err
	}
	spec, err := ocispec.Build(c)
	if err == nil && t.EditSpec != nil {
		err = t.EditSpec(spec)
	}
	return spec, err
}

// devices returns the device nodes to create in the task, and the rules for opening devices.
func (t Task) devices() (nodes []specs.LinuxDevice, rules []specs.LinuxDeviceCgroup, err error) {
	wanted := t.Devices
	if t.Privileged {
		all, err := hostDevices("/dev")
		if err != nil {
			return nil, nil, err
		}
		wanted = append(all, wanted...)
	}
	nodes, rules, err = devices(wanted)
	if t.mountsAt("/dev") {
		nodes = nil // /dev is the host's, do not create nodes there
	}
	return nodes, rules, err
}

// sysctl returns the task's settings, plus the defaults of a network namespace of its own, without
// the limits of the IPC namespace, which the pod sets.
func (t Task) sysctl() map[string]string {
	out := map[string]string{}
	if t.Network.None {
		out = networkDefaults()
		if t.users != nil {
			out[pingGroups] = fmt.Sprint(0, userns.Size-1) // those that the namespace has
		}
	}
	maps.Copy(out, t.Sysctl)
	maps.DeleteFunc(out, func(name, _ string) bool {
		return t.Share.IPC && bounded(name) || t.ofHostNetwork(name)
	})
	return out
}

// user resolves the user of a task and its home directory.
func (t Task) user(root rootfs) (u ocispec.User, home string, err error) {
	name, of := firstOf(t.Process.User, root.config.User), "the host"
	if t.Image != nil {
		of = fmt.Sprintf("image %s", t.Image.Reference)
	} else if name == "" {
		name = hostUser
	}
	u, home, err = lookupUser(root.userDir, name, t.Process.Groups...)
	if err != nil {
		return u, "", fmt.Errorf("%w (of %s)", err, of)
	}
	if err := t.users.check(u); err != nil {
		return u, "", fmt.Errorf("user %q (of %s): %w", name, of, err)
	}
	if t.AllowUser != nil {
		if err := t.AllowUser(u); err != nil {
			return u, "", fmt.Errorf("%w: user %q: %w", ErrInvalid, name, err)
		}
	}
	return u, home, nil
}

// defaultEnv returns the variables that docker sets unless the image or the task sets them.
func (t Task) defaultEnv(home string) []string {
	env := []string{"PATH=" + defaultPath, "HOME=" + firstOf(home, "/")}
	if t.Hostname != "" && !t.HostNamespaces.UTS {
		env = append(env, "HOSTNAME="+t.Hostname)
	}
	return env
}

// valid removes entries that runtimes treat differently: those that are not NAME=value, and an
// empty HOME, which runc replaces.
func valid(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return strings.Index(entry, "=") < 1 || entry == "HOME=" })
}

// initPath is the path of the init process of a task with Init. /dev is the task's
// own tmpfs, so that the file does not end up in an image layer.
const initPath = "/dev/init"

// outerFirst sorts mounts so that a parent directory is mounted before its children.
func outerFirst(mounts []ocispec.Mount) []ocispec.Mount {
	slices.SortStableFunc(mounts, func(a, b ocispec.Mount) int {
		return strings.Count(filepath.Clean(a.Target), "/") - strings.Count(filepath.Clean(b.Target), "/")
	})
	return mounts
}

// labelPrefix keeps runtimes from interpreting labels, which an image may set too,
// as annotations such as crun's run.oci.*.
const labelPrefix = "org.nomadproject.label."

func annotations(t Task, image map[string]string) map[string]string {
	out := map[string]string{"org.nomadproject.alloc_id": t.AllocID, "org.nomadproject.task": t.Name}
	for _, labels := range []map[string]string{image, t.Labels} {
		for k, v := range labels {
			out[labelPrefix+k] = v
		}
	}
	return out
}

// shmMounts returns the mount at /dev/shm that belongs to the task's IPC namespace.
// Without one the container has the runtime-spec's default.
func (p *pod) shmMounts(t Task) []ocispec.Mount {
	source := "/dev/shm"
	switch {
	case t.Share.IPC:
		source = p.shmDir()
	case t.HostNamespaces.IPC:
	case t.ShmSizeBytes > 0: // of the task alone, and charged to it
		return []ocispec.Mount{{Target: "/dev/shm", Source: "shm", Type: "tmpfs",
			Options: []string{"nosuid", "nodev", "noexec", "mode=1777", fmt.Sprintf("size=%d", t.ShmSizeBytes)}}}
	default:
		return nil
	}
	return []ocispec.Mount{{Target: "/dev/shm", Source: source, Type: "bind",
		Options: []string{"bind", "rw", "nosuid", "nodev", "noexec", "rprivate"}}}
}

// environment merges NAME=value lists; a later list wins. The result is in order of
// first appearance.
func environment(lists ...[]string) []string {
	at := map[string]int{}
	var out []string
	for _, list := range lists {
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

const (
	// maxArgBytes is MAX_ARG_STRLEN of Linux: one argument or NAME=value with its final NUL.
	maxArgBytes = 128 << 10
	// maxExecBytes is the maximum for all of them, pointers included, with the default stack limit
	// of 8 MiB: a quarter of it (execve(2)).
	maxExecBytes = 2 << 20
	pointerBytes = 8
)

// checkExec refuses arguments and variables that execve(2) would refuse with E2BIG.
func checkExec(args, env []string) error {
	total := 0
	for i, s := range slices.Concat(args, env) {
		total += len(s) + 1 + pointerBytes
		if len(s) < maxArgBytes {
			continue
		}
		what := fmt.Sprintf("argument %d", i)
		if i >= len(args) {
			name, _, _ := strings.Cut(s, "=")
			what = fmt.Sprintf("variable %.64q", name)
		}
		return fmt.Errorf("%w: %s has %d bytes; the kernel accepts at most %d (execve(2)); pass it in a file", ErrInvalid, what, len(s), maxArgBytes-1)
	}
	if total > maxExecBytes {
		return fmt.Errorf("%w: arguments and environment take %d bytes; the kernel accepts at most %d (execve(2)); pass some in files", ErrInvalid, total, maxExecBytes)
	}
	return nil
}

// checkNUL refuses NUL bytes, at which a runtime written in C ends a string.
func (t Task) checkNUL(config image.ImageConfig) error {
	for _, list := range []struct {
		key    string
		values []string
		of     *Image
	}{
		{"entrypoint", t.Process.Entrypoint, nil}, {"command or args", t.Process.Command, nil},
		{"env", t.Process.Env, nil}, {"work_dir", []string{t.Process.WorkDir}, nil},
		{"ENTRYPOINT", config.Entrypoint, t.Image}, {"CMD", config.Cmd, t.Image},
		{"ENV", config.Env, t.Image}, {"WORKDIR", []string{config.WorkingDir}, t.Image},
	} {
		for i, value := range list.values {
			if !strings.Contains(value, "\x00") {
				continue
			}
			what := fmt.Sprintf("entry %d", i)
			if name, _, ok := strings.Cut(value, "="); ok && strings.EqualFold(list.key, "env") {
				what = fmt.Sprintf("variable %.64q", name)
			}
			return list.of.explain(mistakef("%s: %s contains a NUL byte, which no program can receive; remove it", list.key, what))
		}
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
