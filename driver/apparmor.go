package driver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/moby/profiles/apparmor"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

const (
	// defaultProfile is the name of the AppArmor profile of tasks.
	defaultProfile = "nomad-driver-pod"
	// unconfined is the value of security_opt for no profile.
	unconfined = "unconfined"
)

// appArmor loads the default profile, which is moby's.
type appArmor struct {
	enabled func() bool
	// parser reports why profiles cannot be loaded.
	parser func() error
	loaded func(name string) (bool, error)
	load   func(name string) error
}

func hostAppArmor() appArmor {
	return appArmor{
		enabled: func() bool {
			b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
			return err == nil && strings.HasPrefix(string(b), "Y")
		},
		parser: func() error {
			_, err := exec.LookPath("apparmor_parser")
			return err
		},
		loaded: apparmor.IsLoaded,
		load:   apparmor.InstallDefault,
	}
}

// prepare loads the plugin's version of the profile and returns its name. As with
// docker, the name is empty if the host has no AppArmor or no parser; lacking then
// explains why.
func (a appArmor) prepare() (profile, lacking string, err error) {
	if !a.enabled() {
		return "", "", nil
	}
	if a.parser() != nil {
		if ok, err := a.loaded(defaultProfile); err == nil && ok {
			return defaultProfile, "", nil
		}
		return "", "tasks run without an AppArmor profile, since apparmor_parser is not installed: install the package \"apparmor\"", nil
	}
	if err := a.load(defaultProfile); err != nil {
		return "", "", fmt.Errorf("AppArmor is enabled and profile %s was not loaded: %w", defaultProfile, err)
	}
	return defaultProfile, "", nil
}

// apply sets the profile of a task, and loads the default one again if it was
// removed since, as aa-remove-unknown(8) does.
func (a appArmor) apply(t *pod.Task, hostProfile string) error {
	if t.Privileged || t.Security.AppArmor == unconfined {
		t.Security.AppArmor = ""
		return nil
	}
	if t.Security.AppArmor != "" && !a.enabled() {
		return errors.New("security_opt: this host has no AppArmor; leave apparmor out, or constrain the job to hosts that have it")
	}
	if t.Security.AppArmor == "" {
		t.Security.AppArmor = hostProfile
	}
	if t.Security.AppArmor != defaultProfile {
		return nil
	}
	if ok, err := a.loaded(defaultProfile); err == nil && ok {
		return nil
	}
	if err := a.load(defaultProfile); err != nil {
		return fmt.Errorf("load the AppArmor profile %s: %w", defaultProfile, err)
	}
	return nil
}
