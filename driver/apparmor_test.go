package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/profiles/apparmor"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/ocispec"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// fakeAppArmor is a fake kernel with AppArmor.
type fakeAppArmor struct {
	enabled, loaded bool
	parser, load    error
	loads           int
}

func (f *fakeAppArmor) host() appArmor {
	return appArmor{
		enabled: func() bool { return f.enabled },
		parser:  func() error { return f.parser },
		loaded:  func(string) (bool, error) { return f.loaded, nil },
		load: func(string) error {
			f.loads++
			f.loaded = f.load == nil
			return f.load
		},
	}
}

func TestAppArmor_Prepare(t *testing.T) {
	none := errors.New("none")
	for name, tc := range map[string]struct {
		fake                   fakeAppArmor
		profile, lacking, fail string
	}{
		"no AppArmor":       {fakeAppArmor{}, "", "", ""},
		"loads":             {fakeAppArmor{enabled: true}, defaultProfile, "", ""},
		"replaces":          {fakeAppArmor{enabled: true, loaded: true}, defaultProfile, "", ""},
		"no parser":         {fakeAppArmor{enabled: true, parser: none}, "", "install the package \"apparmor\"", ""},
		"loaded, no parser": {fakeAppArmor{enabled: true, loaded: true, parser: none}, defaultProfile, "", ""},
		"fails":             {fakeAppArmor{enabled: true, load: none}, "", "", "profile nomad-driver-pod was not loaded: none"},
	} {
		t.Run(name, func(t *testing.T) {
			profile, lacking, err := tc.fake.host().prepare()
			must.Eq(t, tc.profile, profile)
			must.StrContains(t, lacking, tc.lacking)
			must.Eq(t, tc.lacking == "", lacking == "")
			if tc.fail != "" {
				must.ErrorContains(t, err, tc.fail)
			} else {
				must.NoError(t, err)
			}
			if name == "loads" || name == "replaces" {
				must.Eq(t, 1, tc.fake.loads)
			}
		})
	}
}

func TestAppArmor_Apply(t *testing.T) {
	for name, tc := range map[string]struct {
		fake       fakeAppArmor
		task       pod.Task
		host, want string
		loads      int
		fail       string
	}{
		"default":         {fakeAppArmor{enabled: true, loaded: true}, pod.Task{}, defaultProfile, defaultProfile, 0, ""},
		"removed since":   {fakeAppArmor{enabled: true}, pod.Task{}, defaultProfile, defaultProfile, 1, ""},
		"cannot reload":   {fakeAppArmor{enabled: true, load: errors.New("no")}, pod.Task{}, defaultProfile, defaultProfile, 1, "load the AppArmor profile"},
		"none":            {fakeAppArmor{}, pod.Task{}, "", "", 0, ""},
		"privileged":      {fakeAppArmor{enabled: true}, pod.Task{Privileged: true}, defaultProfile, "", 0, ""},
		"unconfined":      {fakeAppArmor{enabled: true}, withProfile(unconfined), defaultProfile, "", 0, ""},
		"another":         {fakeAppArmor{enabled: true}, withProfile("web"), defaultProfile, "web", 0, ""},
		"another, absent": {fakeAppArmor{}, withProfile("web"), "", "web", 0, "this host has no AppArmor"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.fake.host().apply(&tc.task, tc.host)
			if tc.fail != "" {
				must.ErrorContains(t, err, tc.fail)
			} else {
				must.NoError(t, err)
			}
			must.Eq(t, tc.want, tc.task.Security.AppArmor)
			must.Eq(t, tc.loads, tc.fake.loads)
		})
	}
}

func withProfile(name string) pod.Task {
	return pod.Task{Security: ocispec.Security{AppArmor: name}}
}

// TestAppArmor_Profile checks that the text, which comes from moby, contains the rules that tasks
// of a pod need.
func TestAppArmor_Profile(t *testing.T) {
	dir := t.TempDir()
	parser := "#!/bin/sh\n[ \"$1\" = -Kr ] && cat \"$2\" > " + dir + "/profile\n"
	must.NoError(t, os.WriteFile(filepath.Join(dir, "apparmor_parser"), []byte(parser), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	must.NoError(t, apparmor.InstallDefault(defaultProfile))
	b, err := os.ReadFile(filepath.Join(dir, "profile"))
	must.NoError(t, err)
	for _, rule := range []string{
		"profile nomad-driver-pod flags=(attach_disconnected,mediate_deleted)",
		"signal (receive) peer=unconfined,", "signal (send,receive) peer=nomad-driver-pod,",
		"ptrace (trace,read,tracedby,readby) peer=nomad-driver-pod,",
		"deny mount,", "deny @{PROC}/sysrq-trigger rwklx,", "deny /sys/kernel/security/** rwklx,",
	} {
		must.StrContains(t, string(b), rule)
	}
}
