package driver

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// Limits of a task's config, which is stored in memory, in state files and in each
// exec of the runtime.
const (
	maxEntries     = 1000      // of a list or a map
	maxStringBytes = 128 << 10 // MAX_ARG_STRLEN of execve(2)
	maxMounts      = 128       // each is created on the host first
	maxEnvBytes    = 1 << 20
)

// checkSizes bounds every list, map and string of a task's config, and refuses NUL bytes in them.
func checkSizes(c TaskConfig, cfg *drivers.TaskConfig) error {
	if err := checkSize("config", reflect.ValueOf(c)); err != nil {
		return err
	}
	mounts := len(c.Volumes) + len(c.Mounts) + len(c.Tmpfs) + len(c.PodVolumes) + len(c.Devices)
	if mounts > maxMounts {
		return fmt.Errorf("volumes, mount, tmpfs, pod_volume and devices have %d entries together: want at most %d", mounts, maxMounts)
	}
	env := 0
	for name, value := range cfg.Env {
		env += len(name) + len(value)
	}
	if env > maxEnvBytes {
		return fmt.Errorf("env has %d bytes: want at most %d", env, maxEnvBytes)
	}
	return nil
}

func checkSize(key string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if v.Len() > maxStringBytes {
			return fmt.Errorf("%s has a value of %d bytes: want at most %d", key, v.Len(), maxStringBytes)
		}
		// A runtime written in C ends a string there: a path would be another one than was checked.
		if strings.Contains(v.String(), "\x00") {
			return fmt.Errorf("%s contains a NUL byte, which no path, argument or name can have: remove it", key)
		}
	case reflect.Slice, reflect.Map:
		return checkEntries(key, v)
	case reflect.Pointer:
		if !v.IsNil() {
			return checkSize(key, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := checkSize(v.Type().Field(i).Tag.Get("codec"), v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkEntries(key string, v reflect.Value) error {
	if v.Len() > maxEntries {
		return fmt.Errorf("%s has %d entries: want at most %d", key, v.Len(), maxEntries)
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if err := checkSize(key, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	for it := v.MapRange(); it.Next(); {
		if err := checkSize(key, it.Key()); err != nil {
			return err
		}
		if err := checkSize(key, it.Value()); err != nil {
			return err
		}
	}
	return nil
}
