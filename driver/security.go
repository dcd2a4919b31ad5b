package driver

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/drivers/shared/capabilities"
	"github.com/moby/sys/capability"

	"github.com/nomad-sidecar/nomad-sidecar/driver/bounds"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// setSecurity sets how a task is confined.
func (s settings) setSecurity(t *pod.Task, c TaskConfig) error {
	errs := []error{s.setCaps(t, c)}
	if c.Privileged && !s.AllowPrivileged {
		errs = append(errs, errors.New("privileged is not allowed here: the operator can set allow_privileged = true in the plugin's config; often cap_add or devices is enough"))
	}
	t.Privileged = c.Privileged
	errs = append(errs, s.setUserns(t, c))
	for _, opt := range c.SecurityOpt {
		if err := s.setSecurityOpt(t, opt); err != nil {
			errs = append(errs, fmt.Errorf("security_opt: %q: %w", opt, err))
		}
	}
	return errors.Join(errs...)
}

// setSecurityOpt applies one of docker's options, "NAME=VALUE" or "NAME:VALUE".
func (s settings) setSecurityOpt(t *pod.Task, opt string) error {
	name, value := opt, "true"
	if i := strings.IndexAny(opt, "=:"); i >= 0 {
		name, value = opt[:i], opt[i+1:]
	}
	switch name {
	case "no-new-privileges":
		if value != "true" && value != "false" {
			return errors.New("want no-new-privileges=true or no-new-privileges=false")
		}
		t.Security.NewPrivileges = value == "false"
	case "seccomp":
		if !s.AllowPrivileged {
			return errors.New("another seccomp profile is not allowed here: the operator can set allow_privileged = true in the plugin's config")
		}
		return setSeccomp(t, value)
	case "apparmor":
		if value == "" {
			return errors.New("want the name of a loaded profile")
		}
		if value != defaultProfile && !s.AllowPrivileged {
			return fmt.Errorf("an AppArmor profile other than %s is not allowed here: the operator can set allow_privileged = true in the plugin's config", defaultProfile)
		}
		t.Security.AppArmor = value
	case "label":
		if value != "disable" {
			return errors.New("tasks have no SELinux label of their own: want label=disable, or leave the option out")
		}
	default:
		return errors.New("want no-new-privileges, seccomp, apparmor or label")
	}
	return nil
}

// maxProfileBytes is many times the size of the default profile.
const maxProfileBytes = 1 << 20

func setSeccomp(t *pod.Task, value string) error {
	if value == ocispec.SeccompUnconfined {
		t.Security.SeccompProfile = value
		return nil
	}
	if !filepath.IsAbs(value) {
		return errors.New("want seccomp=unconfined, or the absolute path of a profile on the host")
	}
	path, err := filepath.EvalSymlinks(value)
	var b []byte
	if err == nil {
		b, err = bounds.ReadFile(path, maxProfileBytes)
	}
	if err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	if err := ocispec.CheckSeccomp(string(b)); err != nil {
		return fmt.Errorf("%s: %w", value, err)
	}
	t.Security.SeccompProfile = string(b)
	return nil
}

// setCaps computes capabilities as Nomad's own drivers do: the defaults, without
// cap_drop, plus cap_add, within the operator's limits.
func (s settings) setCaps(t *pod.Task, c TaskConfig) error {
	if err := errors.Join(checkCaps("cap_add", c.CapAdd), checkCaps("cap_drop", c.CapDrop)); err != nil {
		return err
	}
	if c.Privileged {
		var err error
		t.Capabilities, err = withinOwn(capabilities.Supported().Slice(true))
		return err
	}
	allowed := s.AllowCaps
	if len(allowed) == 0 {
		allowed = capabilities.NomadDefaults().Slice(false)
	}
	set, err := capabilities.Calculate(capabilities.NomadDefaults(), allowed, c.CapAdd, c.CapDrop)
	if err != nil {
		return fmt.Errorf("cap_add: %w; the operator can allow more with allow_caps in the plugin's config", err)
	}
	if t.Capabilities, err = withinOwn(set); err != nil {
		return err
	}
	if slices.ContainsFunc(c.CapAdd, func(n string) bool { return strings.TrimPrefix(strings.ToUpper(n), "CAP_") == "ALL" }) {
		t.Ambient = t.Capabilities
		return nil
	}
	t.Ambient = capabilities.New(c.CapAdd).Slice(true)
	for _, name := range t.Ambient {
		if !slices.Contains(t.Capabilities, name) {
			return fmt.Errorf("cap_add: the Nomad client does not have %s itself and cannot grant it: omit it, or run the client with it", name)
		}
	}
	return nil
}

// checkCaps refuses names that the kernel does not know, in the form of Nomad's own
// drivers: "net_raw", "CAP_NET_RAW" or "all".
func checkCaps(key string, names []string) error {
	supported := capabilities.Supported().Slice(true)
	for _, n := range names {
		full := "CAP_" + strings.TrimPrefix(strings.ToUpper(n), "CAP_")
		if full != "CAP_ALL" && !slices.Contains(supported, full) {
			return fmt.Errorf("%s: %q is not a capability that this kernel knows (capabilities(7))", key, n)
		}
	}
	return nil
}

// withinOwn removes capabilities that this process lacks and cannot grant, as in a
// container or on a hardened system. That applies to "all"; a missing capability that
// was requested by name is an error.
func withinOwn(names []string) ([]string, error) {
	own, err := capability.NewPid2(0)
	if err == nil {
		err = own.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("capabilities of this process: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(capability.ListKnown(), func(c capability.Cap) bool {
			return name == "CAP_"+strings.ToUpper(c.String()) && !own.Get(capability.BOUNDING, c)
		})
	}), nil
}
