package driver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cdi"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

const (
	// nvidiaVariable has the ids of the GPUs that Nomad's device plugin for NVIDIA reserved.
	nvidiaVariable = "NVIDIA_VISIBLE_DEVICES"
	nvidiaKind     = "nvidia.com/gpu"
)

// setCDI adds the CDI devices that the task's config names and the operator allows, and those that
// Nomad has reserved.
func (s settings) setCDI(t *pod.Task, c TaskConfig, cfg *drivers.TaskConfig) error {
	var errs []error
	for _, name := range c.CDIDevices {
		if err := cdi.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("cdi_devices: %q: want VENDOR/CLASS=NAME, such as \"vendor.com/class=0\"", name))
		} else if !s.allowsCDI(name) {
			errs = append(errs, fmt.Errorf("cdi_devices: %q is not allowed here: the operator can add it to allow_devices in the plugin's config", name))
		}
	}
	// A job's variables are in Env, and a device plugin's in DeviceEnv.
	reserved := cfg.DeviceEnv[nvidiaVariable]
	if len(errs) > 0 || len(c.CDIDevices) == 0 && reserved == "" {
		return errors.Join(errs...)
	}
	devices, err := readCDI(s.CDISpecDirs)
	if err != nil {
		return fmt.Errorf("cdi_devices: %w", err)
	}
	names := slices.Clone(c.CDIDevices)
	if devices.HasKind(nvidiaKind) {
		for id := range strings.SplitSeq(reserved, ",") {
			if id != "" {
				names = append(names, nvidiaKind+"="+id)
			}
		}
	}
	slices.Sort(names)
	key := "cdi_devices"
	if len(c.CDIDevices) == 0 {
		key = "GPU that Nomad reserved (" + nvidiaVariable + ")"
	}
	edit, err := devices.Edit(slices.Compact(names), s.AllowPrivileged)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	t.EditSpec = func(spec *specs.Spec) error {
		err := edit(spec)
		if errors.Is(err, cdi.ErrMounted) {
			return fmt.Errorf("%w: %s: %w", pod.ErrInvalid, key, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	}
	return nil
}

func (s settings) allowsCDI(name string) bool {
	return s.AllowPrivileged || slices.ContainsFunc(s.AllowDevices, func(pattern string) bool {
		ok, _ := path.Match(pattern, name) // newSettings has rejected invalid patterns
		return ok
	})
}

// isCDIPattern reports whether a pattern of allow_devices is about CDI devices: VENDOR/CLASS=NAME.
func isCDIPattern(pattern string) bool {
	kind, name, ok := strings.Cut(pattern, "=")
	return ok && name != "" && strings.Count(kind, "/") == 1 && !strings.HasPrefix(kind, "/")
}

// Limits of the directories of CDI specs, far beyond what vendors' tools write.
const (
	maxCDISpecs     = 256
	maxCDISpecBytes = 4 << 20
)

// readCDI reads the specs in directories that only root can write to.
func readCDI(dirs []string) (*cdi.Devices, error) {
	for _, dir := range dirs {
		if err := checkCDIDir(dir); err != nil {
			return nil, fmt.Errorf("specs in %s: %w", dir, err)
		}
	}
	return cdi.Read(dirs)
}

func checkCDIDir(dir string) error {
	real, err := trustedPath(dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(real)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := checkParent(real); err != nil {
		return err
	}
	if len(entries) > maxCDISpecs {
		return fmt.Errorf("there are %d files: want at most %d", len(entries), maxCDISpecs)
	}
	for _, e := range entries {
		file, err := trustedPath(filepath.Join(real, e.Name()))
		if err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		const othersWrite = 0o022
		switch {
		case info.IsDir():
		case !info.Mode().IsRegular() || info.Size() > maxCDISpecBytes:
			return fmt.Errorf("%s is not a regular file of at most %d bytes", e.Name(), maxCDISpecBytes)
		case ownerOf(info) != 0 || info.Mode().Perm()&othersWrite != 0:
			return fmt.Errorf("users other than root can write to %s; run \"chown root %[1]s\" and \"chmod go-w %[1]s\"", file)
		}
	}
	return nil
}
