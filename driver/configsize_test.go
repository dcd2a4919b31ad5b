package driver

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// Each list, map and string of the config is bounded, including those added in the future.
func TestConfigSize(t *testing.T) {
	long, many := strings.Repeat("x", maxStringBytes+1), make([]string, maxEntries+1)
	for i := range reflect.TypeFor[TaskConfig]().NumField() {
		field := reflect.TypeFor[TaskConfig]().Field(i)
		c := TaskConfig{Command: "a"}
		v := reflect.ValueOf(&c).Elem().Field(i)
		switch field.Type.Kind() {
		case reflect.String:
			v.SetString(long)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(field.Type, len(many), len(many)))
		default:
			continue
		}
		_, err := defaults(t).taskFrom(taskConfig(t, c), cgroup.V2)
		must.ErrorContains(t, err, field.Tag.Get("codec")+" has ", must.Sprint(field.Name))
	}
	for want, c := range map[string]TaskConfig{
		"args has a value of 131073 bytes: want at most 131072": {Command: "a", Args: []string{long}},
		"labels has a value": {Command: "a", Labels: map[string]string{"a": long}},
		"source has a value": {Command: "a", Mounts: []MountConfig{{Source: long}}},
		"exec has a value":   {Command: "a", Ready: &ReadyConfig{Exec: []string{long}}},
		"volumes, mount, tmpfs, pod_volume and devices have 129 entries together: want at most 128": {Command: "a", Tmpfs: slices.Repeat([]string{"/x"}, 129)},
	} {
		_, err := defaults(t).taskFrom(taskConfig(t, c), cgroup.V2)
		must.ErrorContains(t, err, want)
	}
	cfg := taskConfig(t, TaskConfig{Command: "a"})
	cfg.Env = map[string]string{"A": strings.Repeat("x", maxEnvBytes)}
	_, err := defaults(t).taskFrom(cfg, cgroup.V2)
	must.ErrorContains(t, err, "env has 1048577 bytes: want at most 1048576")
}

// A NUL byte is refused in each string of the config, including those added in the future: crun
// would mount "/dev\x00x" at /dev, and the checks of targets do not recognize that path.
func TestConfigSize_NUL(t *testing.T) {
	const nul = "/dev\x00x"
	for i := range reflect.TypeFor[TaskConfig]().NumField() {
		field := reflect.TypeFor[TaskConfig]().Field(i)
		c := TaskConfig{Command: "a"}
		v := reflect.ValueOf(&c).Elem().Field(i)
		switch {
		case field.Type.Kind() == reflect.String:
			v.SetString(nul)
		case field.Type == reflect.TypeFor[[]string]():
			v.Set(reflect.ValueOf([]string{"a", nul}))
		default:
			continue
		}
		_, err := defaults(t).taskFrom(taskConfig(t, c), cgroup.V2)
		must.ErrorContains(t, err, field.Tag.Get("codec")+" contains a NUL byte", must.Sprint(field.Name))
	}
	for want, c := range map[string]TaskConfig{
		"container_path contains": {Command: "a", Devices: []DeviceConfig{{HostPath: "/dev/null", ContainerPath: nul}}},
		"target contains":         {Command: "a", Mounts: []MountConfig{{Type: "tmpfs", Target: nul}}},
		"sysctl contains":         {Command: "a", Sysctl: map[string]string{"kernel.domainname": nul}},
		"labels contains":         {Command: "a", Labels: map[string]string{nul: ""}},
	} {
		_, err := defaults(t).taskFrom(taskConfig(t, c), cgroup.V2)
		must.ErrorContains(t, err, want+" a NUL byte")
	}
}
