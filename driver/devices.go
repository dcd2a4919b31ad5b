package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// harmlessDevices are the devices that every task has, which may also be requested for other paths.
func harmlessDevices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
}

// setDevices adds the host devices named in the task's config, if the operator
// allows them.
func (s settings) setDevices(t *pod.Task, c TaskConfig) error {
	var errs []error
	for _, d := range c.Devices {
		if err := s.checkDevice(d); err != nil {
			errs = append(errs, fmt.Errorf("devices: host_path = %q: %w", d.HostPath, err))
			continue
		}
		t.Devices = append(t.Devices, pod.Device{
			HostPath: filepath.Clean(d.HostPath), TaskPath: d.ContainerPath, Permissions: d.CgroupPermissions,
		})
	}
	return errors.Join(errs...)
}

func (s settings) checkDevice(d DeviceConfig) error {
	path := filepath.Clean(d.HostPath)
	if !filepath.IsAbs(path) {
		return errors.New("want the absolute path of a device")
	}
	if !s.allowsDevice(path) {
		return fmt.Errorf("this device is not allowed here: the operator can add it to allow_devices in the plugin's config")
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the host has no such device")
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeDevice == 0 {
		return errors.New("not a device: use a separate block for each device")
	}
	if d.ContainerPath != "" && !filepath.IsAbs(d.ContainerPath) {
		return fmt.Errorf("container_path = %q: want an absolute path", d.ContainerPath)
	}
	if p := d.CgroupPermissions; strings.Trim(p, "rwm") != "" {
		return fmt.Errorf("cgroup_permissions = %q: want some of \"r\", \"w\" and \"m\"", p)
	}
	return nil
}

func (s settings) allowsDevice(path string) bool {
	return s.AllowPrivileged || slices.ContainsFunc(slices.Concat(harmlessDevices(), s.AllowDevices), func(pattern string) bool {
		ok, _ := filepath.Match(pattern, path) // newSettings has rejected invalid patterns
		return ok
	})
}
