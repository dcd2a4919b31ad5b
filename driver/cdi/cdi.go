// Package cdi applies devices of the Container Device Interface
// (https://github.com/cncf-tags/container-device-interface) to a runtime-spec.
//
// It neither decides which devices a task may have nor whether a directory of specs can be
// trusted, and it creates no device.
package cdi

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	raw "tags.cncf.io/container-device-interface/specs-go"
)

// ErrMissing means that no usable spec defines a device. One may do so later.
var ErrMissing = errors.New("no such device")

// ErrMounted means that a mount of the task contains a device node.
var ErrMounted = errors.New("a mount contains the device node")

// CheckName returns an error unless name is VENDOR/CLASS=DEVICE.
func CheckName(name string) error {
	_, _, _, err := parser.ParseQualifiedName(name)
	return err
}

// Devices are the devices that the specs of a host define.
type Devices struct {
	dirs  []string
	cache *cdi.Cache
}

// Read reads the specs, files with the extension .json or .yaml, in the directories. A later
// directory overrides devices of an earlier one. A missing directory is empty, and a spec that
// cannot be read defines no device: Edit reports it.
func Read(dirs []string) (*Devices, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	// The error lists unusable specs, which matter only if they might define a wanted device.
	if cache == nil {
		return nil, fmt.Errorf("read device specs: %w", err)
	}
	return &Devices{dirs, cache}, nil
}

// HasKind reports whether there is a device of a kind, VENDOR/CLASS.
func (d *Devices) HasKind(kind string) bool {
	return slices.ContainsFunc(d.cache.ListDevices(), func(name string) bool { return strings.HasPrefix(name, kind+"=") })
}

// Edit returns a function that adds the devices to a runtime-spec. The error names a device that
// does not exist, has hooks although those are not allowed, or needs something that runtimes
// ignore. The function's error wraps ErrMounted, or is about a device that the host does not have.
func (d *Devices) Edit(names []string, allowHooks bool) (func(*specs.Spec) error, error) {
	for _, name := range names {
		if err := d.check(name, allowHooks); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
	}
	return func(spec *specs.Spec) error { return d.apply(spec, names) }, nil
}

func (d *Devices) check(name string, allowHooks bool) error {
	device := d.cache.GetDevice(name)
	if device == nil {
		return d.missing(name)
	}
	for _, edits := range []raw.ContainerEdits{device.ContainerEdits, device.GetSpec().ContainerEdits} {
		switch {
		case len(edits.Hooks) > 0 && !allowHooks:
			return fmt.Errorf("%s has hooks, programs that run as root on the host; "+
				"the operator can allow them with allow_privileged = true in the plugin's config", device.GetSpec().GetPath())
		case len(edits.NetDevices) > 0 || edits.IntelRdt != nil:
			return fmt.Errorf("%s has netDevices or intelRdt, which are not supported; remove them from the spec", device.GetSpec().GetPath())
		}
		if err := checkPaths(edits); err != nil {
			return fmt.Errorf("%s %w", device.GetSpec().GetPath(), err)
		}
	}
	return nil
}

// checkPaths returns an error for the first path that a runtime would reject or resolve differently.
func checkPaths(edits raw.ContainerEdits) error {
	for _, node := range edits.DeviceNodes {
		if !isBelowDev(node.Path) {
			return fmt.Errorf("has a device node at %q; only paths below /dev are supported", node.Path)
		}
	}
	for _, m := range edits.Mounts {
		if !filepath.IsAbs(m.ContainerPath) || filepath.Clean(m.ContainerPath) == "/" {
			return fmt.Errorf("has a mount at %q; want an absolute path below /", m.ContainerPath)
		}
		if (m.Type == "" || m.Type == "bind") && !filepath.IsAbs(m.HostPath) {
			return fmt.Errorf("mounts %q; want an absolute path of the host", m.HostPath)
		}
	}
	return nil
}

// maxReason is the maximum length of the reason why a spec is unusable.
const maxReason = 200

// missing explains that a device is in no spec: two of the same rank define it, or the specs that
// could are unusable.
func (d *Devices) missing(name string) error {
	var conflicts, unusable string
	for _, path := range slices.Sorted(maps.Keys(d.cache.GetErrors())) {
		for _, err := range d.cache.GetErrors()[path] {
			reason := strings.ReplaceAll(err.Error(), "\n", "; ")
			if strings.Contains(reason, strconv.Quote(name)) {
				conflicts = "; " + reason
			}
			unusable += fmt.Sprintf("; %s is unusable: %.*s", path, maxReason, reason)
		}
	}
	return fmt.Errorf("%w in the specs in %s%s", ErrMissing, strings.Join(d.dirs, ", "), cmp.Or(conflicts, unusable))
}

func isBelowDev(path string) bool {
	return filepath.Clean(path) == path && strings.HasPrefix(path, "/dev/")
}

func (d *Devices) apply(spec *specs.Spec, names []string) error {
	own := slices.Clone(spec.Linux.Devices)
	if _, err := d.cache.InjectDevices(spec, names...); err != nil {
		return err
	}
	for i, m := range spec.Mounts {
		if m.Type == "" { // the specification's default, which runtimes do not have
			spec.Mounts[i].Type = "bind"
		}
	}
	if slices.ContainsFunc(spec.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev" && m.Type == "bind" }) {
		spec.Linux.Devices = own // the host's nodes are there
	}
	for _, node := range spec.Linux.Devices {
		if m := mountAround(spec.Mounts, node.Path); m != "" {
			return fmt.Errorf("%w %s: mount elsewhere than at %s", ErrMounted, node.Path, m)
		}
	}
	return nil
}

// mountAround returns the target of a mount below /dev that contains path, or "". A runtime creates
// device nodes inside of mounts, which would be on the host.
func mountAround(mounts []specs.Mount, path string) string {
	for _, m := range mounts {
		target := filepath.Clean(m.Destination)
		if strings.HasPrefix(target, "/dev/") && (path == target || strings.HasPrefix(path, target+"/")) {
			return target
		}
	}
	return ""
}
