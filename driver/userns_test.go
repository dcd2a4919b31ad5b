package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
	"github.com/nomad-sidecar/nomad-sidecar/driver/userns"
)

func TestUsernsPool_Invalid(t *testing.T) {
	for name, tc := range map[string]struct {
		config UsernsConfig
		want   string
	}{
		"no ids":       {UsernsConfig{Required: true}, "userns: required is set, and first and size are not"},
		"no size":      {UsernsConfig{First: 1 << 20}, "userns: first = 1048576, size = 0: want a first id from 65536 on, at least 65536 ids"},
		"host's users": {UsernsConfig{First: 1000, Size: 1 << 20}, "userns: first = 1000"},
		"few":          {UsernsConfig{First: 1 << 20, Size: 1000}, "size = 1000"},
		"above":        {UsernsConfig{First: 1 << 20, Size: 1 << 31}, "a last one below 2147483648"},
		"overflow":     {UsernsConfig{First: 1 << 20, Size: 1<<63 - 1}, "a last one below 2147483648"},
		"negative":     {UsernsConfig{First: -1 << 20, Size: 1 << 20}, "userns: first = -1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.config.pool()
			must.ErrorContains(t, err, tc.want)
		})
	}
}

// A host's user or group must not have an id of a pod, also none of its subordinate ids.
func TestUsernsPool_Taken(t *testing.T) {
	pool := userns.Pool{First: 1 << 20, Count: 1 << 17}
	path := filepath.Join(t.TempDir(), "ids")
	for content, want := range map[string]string{
		"":                                 "",
		"root:x:0:0::/root:/bin/sh\nodd\n": "",
		"bob:1048575:1\n":                  "",
		"bob:1048575:2\n":                  `ids from 1048575 on belong to "bob" in ` + path,
		"bob:1179647:65536\n":              `ids from 1179647 on belong to "bob"`,
		"bob:1179648:65536\n":              "",
		"nomad-driver-pod:1048576:131072":  "",
	} {
		must.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		err := checkIDs(pool, path, 1, 2)
		if want == "" {
			must.NoError(t, err, must.Sprint(content))
		} else {
			must.ErrorContains(t, err, want)
		}
	}
	must.NoError(t, os.WriteFile(path, []byte("bob:x:1048577:100::/:/bin/sh\n"), 0o600))
	must.ErrorContains(t, checkIDs(pool, path, 2, 0), "belong to \"bob\"")
	must.NoError(t, checkIDs(pool, path+"-missing", 2, 0))
}

func TestSetUserns(t *testing.T) {
	ids := UsernsConfig{First: userns.Size, Size: 1 << 20}
	required := ids
	required.Required = true
	for name, tc := range map[string]struct {
		config UsernsConfig
		hcl    string
		auto   bool
		want   string
	}{
		"default":      {ids, "", false, ""},
		"host":         {ids, `userns = "host"`, false, ""},
		"auto":         {ids, `userns = "auto"`, true, ""},
		"other name":   {ids, `userns_mode = "auto"`, true, ""},
		"required":     {required, "", true, ""},
		"not required": {required, `userns_mode = "host"`, false, `userns_mode = "host" is not allowed here: the operator's userns { required = true }`},
		"no ids":       {UsernsConfig{}, `userns = "auto"`, false, `userns = "auto": there are no ids for pods here: the operator can set userns {`},
		"unknown":      {ids, `userns = "keep-id"`, false, `userns = "keep-id": want "host" for the host's user namespace, or "auto"`},
		"two":          {ids, "userns = \"auto\"\nuserns_mode = \"host\"", false, "contradict each other"},
		"privileged":   {ids, "userns = \"auto\"\nprivileged = true", true, `privileged = true and userns = "auto" contradict each other`},
		"privileged where required": {required, "privileged = true", true,
			"privileged = true and userns { required = true } of the operator contradict each other"},
		"pid":        {ids, "userns = \"auto\"\npid_mode = \"host\"", true, `pid_mode = "host" and userns = "auto" contradict`},
		"ipc":        {ids, "userns = \"auto\"\nipc_mode = \"host\"", true, `ipc_mode = "host" and userns = "auto" contradict`},
		"uts":        {ids, "userns = \"auto\"\nuts_mode = \"host\"", true, `uts_mode = "host" and userns = "auto" contradict`},
		"domainname": {ids, "userns = \"auto\"\nsysctl = { \"kernel.domainname\" = \"a\" }", true, `sysctl kernel.domainname and userns = "auto" contradict`},
		"device": {ids, "userns = \"auto\"\ndevices = [{ host_path = \"/dev/null\", container_path = \"/dev/nil\" }]", true,
			`container_path = "/dev/nil" and userns = "auto" contradict`},
	} {
		t.Run(name, func(t *testing.T) {
			s := defaults(t)
			var err error
			s.Userns, s.AllowPrivileged, s.AllowHostNamespaces = tc.config, true, true
			s.pool, err = tc.config.pool()
			if tc.config.First != 0 && err != nil {
				t.Skip(err) // this machine has users with such ids
			}
			task, err := s.taskFrom(taskConfig(t, decode(t, "command = \"a\"\n"+tc.hcl)), cgroup.V2)
			if tc.want == "" {
				must.NoError(t, err)
			} else {
				must.ErrorContains(t, err, tc.want)
			}
			must.Eq(t, tc.auto, task.Userns)
		})
	}
}
