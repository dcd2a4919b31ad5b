package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// setVolumes adds the mounts of the keys volumes, mount and tmpfs.
func (s settings) setVolumes(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	var errs []error
	for _, text := range c.Volumes {
		v, err := parseVolume(text)
		if err == nil {
			err = s.addBind(t, cfg, v)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("volumes: %q: %w", text, err))
		}
	}
	for _, m := range slices.Concat(c.Mounts, c.MountsAlias) {
		if err := s.addMount(t, c, cfg, m); err != nil {
			errs = append(errs, fmt.Errorf("mount at %q: %w", m.Target, err))
		}
	}
	for _, text := range c.Tmpfs {
		target, options, _ := strings.Cut(text, ":")
		if err := addTmpfs(t, target, strings.Split(options, ",")); err != nil {
			errs = append(errs, fmt.Errorf("tmpfs: %q: %w", text, err))
		}
	}
	return errors.Join(append(errs, checkTargets(*t, cfg))...)
}

// targets lists the targets of a task's mounts.
func targets(t pod.Task) []string {
	var list []string
	for _, m := range t.Mounts {
		list = append(list, filepath.Clean(m.Target))
	}
	for _, b := range t.UntrustedBinds {
		list = append(list, filepath.Clean(b.Target))
	}
	for _, v := range t.Volumes {
		list = append(list, filepath.Clean(v.Target))
	}
	for _, m := range t.ImageMounts {
		list = append(list, m.Target)
	}
	return list
}

// checkTargets must run while a task has only the mounts of its config.
func checkTargets(t pod.Task, cfg *drivers.TaskConfig) error {
	list := targets(t)
	for _, m := range cfg.Mounts {
		list = append(list, filepath.Clean(m.TaskPath))
	}
	slices.Sort(list)
	for i, target := range list {
		if slices.Contains([]string{"/alloc", "/local", "/secrets"}, target) || isOrBelow(target, "/alloc/logs") {
			return fmt.Errorf("volumes, mount, tmpfs or pod_volume: %s is reserved for Nomad's own directory: want another target", target)
		}
		if i > 0 && target == list[i-1] {
			return fmt.Errorf("volumes, mount, tmpfs, pod_volume or volume_mount: there are two mounts at %s: leave one of them out", target)
		}
	}
	return nil
}

func checkTarget(target string) error {
	switch {
	case !filepath.IsAbs(target):
		return fmt.Errorf("target %q: want an absolute path in the task", target)
	case filepath.Clean(target) == "/":
		return errors.New("target \"/\" is the task's root: want a path below")
	}
	return nil
}

// volume is a bind mount requested by the task's author.
type volume struct {
	key            string // of the task's config
	source, target string
	readonly       bool
	propagation    string // empty: rprivate
	make           bool   // create a missing relative source
}

var propagations = []string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}

// parseVolume parses docker's SOURCE:TARGET[:OPTION,…].
func parseVolume(text string) (volume, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return volume{}, errors.New("want \"source:/target\" or \"source:/target:ro\"")
	}
	v := volume{key: "volumes", source: parts[0], target: parts[1], make: true}
	if len(parts) == 2 {
		return v, nil
	}
	for _, option := range strings.Split(parts[2], ",") {
		switch {
		case option == "ro":
			v.readonly = true
		case option == "rw", option == "z", option == "Z":
			// z and Z set SELinux labels, which tasks do not have.
		case slices.Contains(propagations, option):
			v.propagation = option
		default:
			return volume{}, fmt.Errorf("unknown option %q: want ro, rw, or a propagation such as rslave; %q is a path, since there are no named volumes: for persistent data use a volume of the group and volume_mount", option, parts[0])
		}
	}
	return v, nil
}

// addBind adds a bind mount. Symbolic links in the allocation's directory are not
// followed, since tasks write there; other sources must be allowed by the operator.
func (s settings) addBind(t *pod.Task, cfg *drivers.TaskConfig, v volume) error {
	if err := checkTarget(v.target); err != nil {
		return err
	}
	v.target = filepath.Clean(v.target)
	relative := !filepath.IsAbs(v.source)
	source := filepath.Clean(v.source)
	if relative {
		source = filepath.Join(cfg.TaskDir().Dir, v.source)
	}
	if _, inside := below(cfg.AllocDir, source); inside || relative {
		return addBeneath(t, cfg, source, v)
	}
	if !s.Volumes.Enabled {
		return errors.New("paths of the host are not allowed here: the operator can set volumes { enabled = true } in the plugin's config; want a path relative to the task's directory, or a volume of the group")
	}
	b, err := bindFrom(&drivers.MountConfig{HostPath: source, TaskPath: v.target, Readonly: v.readonly})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s does not exist: create it on the host first", source)
	}
	if err != nil {
		return err
	}
	if v.propagation != "" {
		b.Options[len(b.Options)-1] = v.propagation
	}
	t.Mounts = append(t.Mounts, b)
	return nil
}

func addBeneath(t *pod.Task, cfg *drivers.TaskConfig, source string, v volume) error {
	if v.propagation != "" {
		return errors.New("a propagation needs an absolute source: leave it out")
	}
	dir := cfg.TaskDir()
	b := pod.UntrustedBind{Key: v.key, Target: v.target, Readonly: v.readonly, Make: v.make}
	if name, ok := below(dir.Dir, source); ok && name != "." && !isOrBelow(name, "private") {
		b.DirHostPath, b.Name = dir.Dir, name
		t.UntrustedBinds = append(t.UntrustedBinds, b)
		return nil
	}
	name, ok := below(dir.SharedAllocDir, source)
	if filepath.Clean(source) == dir.Dir {
		return errors.New("the source is the task's directory itself, which holds its secrets: want a path below it such as \"local\"")
	}
	if !ok {
		return errors.New("the source is outside of the task's directory: want a path below it such as \"local/conf\", or below \"../alloc\"")
	}
	if strings.HasPrefix(name, logsDir+"/") {
		return errors.New("log files cannot be mounted one by one: want \"../alloc/logs\", which is read-only")
	}
	b.DirHostPath, b.Name = dir.SharedAllocDir, name
	// Nomad writes log files as root: CVE-2026-6959.
	b.Readonly = b.Readonly || name == logsDir
	b.Make = b.Make && name != logsDir
	t.UntrustedBinds = append(t.UntrustedBinds, b)
	if name == "." {
		t.UntrustedBinds = append(t.UntrustedBinds, pod.UntrustedBind{Key: v.key, DirHostPath: dir.SharedAllocDir, Name: logsDir,
			Target: filepath.Join(v.target, "logs"), Readonly: true})
	}
	return nil
}

// logsDir is the directory of log files below alloc.
const logsDir = "logs"

// below returns path relative to dir, if path is dir or below it. Both must be clean.
func below(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && !isOrBelow(rel, "..")
}

func isOrBelow(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// Types of mount blocks.
const (
	mountBind  = "bind"
	mountTmpfs = "tmpfs"
	mountImage = "image"
)

func (s settings) addMount(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig, m MountConfig) error {
	if err := m.checkKeys(); err != nil {
		return err
	}
	switch m.Type {
	case mountBind:
		if m.Source == "" {
			return errors.New("source is missing: want a path in the task's directory, or of the host")
		}
		if p := m.BindOptions.Propagation; p != "" && !slices.Contains(propagations, p) {
			return fmt.Errorf("propagation = %q: want one of %s", p, strings.Join(propagations, ", "))
		}
		return s.addBind(t, cfg, volume{key: "mount", source: m.Source, target: m.Target, readonly: m.Readonly, propagation: m.BindOptions.Propagation})
	case mountTmpfs:
		if m.TmpfsOptions.SizeBytes < 0 || m.TmpfsOptions.Mode < 0 || m.TmpfsOptions.Mode > 0o7777 {
			return errors.New("tmpfs_options: want a size in bytes, and a mode in decimal up to 4095 (07777)")
		}
		return addTmpfs(t, m.Target, tmpfsOptions(m))
	case mountImage:
		return s.addImageMount(t, c, cfg, m)
	case "", "volume":
		return fmt.Errorf("type = %q: named volumes are not supported: want \"bind\", \"tmpfs\" or \"image\"; for persistent data use a volume of the group and volume_mount", m.Type)
	}
	return fmt.Errorf("type = %q: want \"bind\", \"tmpfs\" or \"image\"", m.Type)
}

// checkKeys refuses keys of other types of mounts.
func (m MountConfig) checkKeys() error {
	for _, k := range []struct {
		name  string
		set   bool
		types []string
	}{
		{"source", m.Source != "", []string{mountBind, mountImage}},
		{"bind_options", m.BindOptions != BindOptions{}, []string{mountBind}},
		{"tmpfs_options", m.TmpfsOptions != TmpfsOptions{}, []string{mountTmpfs}},
		{"image_options", m.ImageOptions != ImageOptions{}, []string{mountImage}},
		{"image_pull_policy", m.ImagePullPolicy != "", []string{mountImage}},
		{"auth", m.Auth != MountAuth{}, []string{mountImage}},
	} {
		known := slices.Contains([]string{mountBind, mountTmpfs, mountImage}, m.Type)
		if known && k.set && !slices.Contains(k.types, m.Type) {
			return fmt.Errorf("%s is for type = \"%s\": leave it out", k.name, strings.Join(k.types, "\" or \""))
		}
	}
	return nil
}

func tmpfsOptions(m MountConfig) []string {
	var options []string
	if m.TmpfsOptions.SizeBytes > 0 {
		options = append(options, "size="+strconv.FormatInt(m.TmpfsOptions.SizeBytes, 10))
	}
	if m.TmpfsOptions.Mode > 0 {
		options = append(options, "mode="+strconv.FormatInt(m.TmpfsOptions.Mode, 8))
	}
	if m.Readonly {
		options = append(options, "ro")
	}
	return options
}

// addTmpfs mounts a tmpfs, by default with noexec, nodev and nosuid as docker does.
func addTmpfs(t *pod.Task, target string, given []string) error {
	if err := checkTarget(target); err != nil {
		return err
	}
	options := []string{"mode=1777"}
	for _, flag := range []string{"suid", "dev", "exec"} {
		if !slices.Contains(given, flag) {
			options = append(options, "no"+flag) // crun applies it even if the opposite follows
		}
	}
	flags := []string{"ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev"}
	for _, o := range given {
		name, value, _ := strings.Cut(o, "=")
		var err error
		switch {
		case o == "", slices.Contains(flags, o):
		case name == "size":
			var n int64
			if n, err = parseSize(value); err == nil {
				o = fmt.Sprintf("size=%d", n) // mount(8) knows fewer units
			}
		case name == "mode":
			_, err = strconv.ParseUint(value, 8, 12)
		case name == "uid", name == "gid":
			_, err = strconv.ParseUint(value, 10, 31)
		default:
			err = errors.New("unknown option")
		}
		if err != nil {
			return fmt.Errorf("option %q: %w: want size=64m, mode=1777, uid=0, gid=0, or one of %s", o, err, strings.Join(flags, ", "))
		}
		if o != "" {
			options = append(options, o)
		}
	}
	t.Mounts = append(t.Mounts, ocispec.Mount{Target: filepath.Clean(target), Source: "tmpfs", Type: "tmpfs", Options: options})
	return nil
}
