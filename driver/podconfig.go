package driver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// PodConfig are the keys of a task's config block that are about its life in
// the pod.
type PodConfig struct {
	Ready      *ReadyConfig            `codec:"ready"`
	After      []string                `codec:"after"`
	PreStop    *PreStopConfig          `codec:"pre_stop"`
	PodVolumes map[string]VolumeConfig `codec:"pod_volume"`
	ShmSize    int64                   `codec:"shm_size"`
}

// ReadyConfig is the ready block: one check, and how often and how long to
// try it.
type ReadyConfig struct {
	Exec     []string `codec:"exec"`
	HTTP     string   `codec:"http"`
	TCP      string   `codec:"tcp"`
	File     string   `codec:"file"`
	Interval string   `codec:"interval"`
	Timeout  string   `codec:"timeout"`
}

// PreStopConfig is the pre_stop block.
type PreStopConfig struct {
	Command string   `codec:"command"`
	Args    []string `codec:"args"`
	Timeout string   `codec:"timeout"`
}

// VolumeConfig is a pod_volume block. Size is in bytes, or a text such as
// "64m".
type VolumeConfig struct {
	Target   string `codec:"target"`
	Size     string `codec:"size"`
	Readonly bool   `codec:"readonly"`
}

func podConfigSpec() map[string]*hclspec.Spec {
	withDefault := func(key, value string) *hclspec.Spec {
		return hclspec.NewDefault(hclspec.NewAttr(key, "string", false), hclspec.NewLiteral(fmt.Sprintf("%q", value)))
	}
	return map[string]*hclspec.Spec{
		"ready": hclspec.NewBlock("ready", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"exec":     hclspec.NewAttr("exec", "list(string)", false),
			"http":     hclspec.NewAttr("http", "string", false),
			"tcp":      hclspec.NewAttr("tcp", "string", false),
			"file":     hclspec.NewAttr("file", "string", false),
			"interval": withDefault("interval", "250ms"),
			"timeout":  withDefault("timeout", "1m"),
		})),
		"after": hclspec.NewAttr("after", "list(string)", false),
		"pre_stop": hclspec.NewBlock("pre_stop", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"command": hclspec.NewAttr("command", "string", true),
			"args":    hclspec.NewAttr("args", "list(string)", false),
			"timeout": withDefault("timeout", "5s"),
		})),
		"pod_volume": hclspec.NewBlockMap("pod_volume", []string{"name"}, hclspec.NewObject(map[string]*hclspec.Spec{
			"target":   hclspec.NewAttr("target", "string", true),
			"size":     hclspec.NewAttr("size", "string", false),
			"readonly": hclspec.NewAttr("readonly", "bool", false),
		})),
		"shm_size": hclspec.NewAttr("shm_size", "number", false),
	}
}

// setPod translates the keys and reports all that is wrong with them.
func setPod(t *pod.Task, c PodConfig) error {
	t.After = c.After
	if c.ShmSize < 0 {
		return fmt.Errorf("shm_size = %d: want a number of bytes above 0", c.ShmSize)
	}
	t.ShmSizeBytes = c.ShmSize
	return errors.Join(setReady(t, c.Ready), setPreStop(t, c.PreStop), setVolumes(t, c.PodVolumes))
}

func setReady(t *pod.Task, c *ReadyConfig) error {
	if c == nil {
		return nil
	}
	r := &pod.Ready{Exec: c.Exec, HTTP: c.HTTP, TCP: c.TCP, File: c.File}
	var errs []error
	checks := 0
	for _, set := range []bool{len(c.Exec) > 0, c.HTTP != "", c.TCP != "", c.File != ""} {
		if set {
			checks++
		}
	}
	if checks != 1 {
		errs = append(errs, fmt.Errorf("ready has %d checks: set one of exec, http, tcp and file", checks))
	}
	if c.HTTP != "" {
		u, err := url.Parse(c.HTTP)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("ready.http = %q: want a URL such as \"http://127.0.0.1:8080/health\"", c.HTTP))
		} else if err := literalHost(u.Host); err != nil {
			errs = append(errs, fmt.Errorf("ready.http = %q: %w", c.HTTP, err))
		}
	}
	if c.TCP != "" {
		if _, _, err := net.SplitHostPort(c.TCP); err != nil {
			errs = append(errs, fmt.Errorf("ready.tcp = %q: want an address such as \"127.0.0.1:8080\"", c.TCP))
		} else if err := literalHost(c.TCP); err != nil {
			errs = append(errs, fmt.Errorf("ready.tcp = %q: %w", c.TCP, err))
		}
	}
	if c.File != "" && !filepath.IsAbs(c.File) {
		errs = append(errs, fmt.Errorf("ready.file = %q: want an absolute path in the task", c.File))
	}
	var err error
	if r.Interval, err = positive("ready.interval", c.Interval); err != nil {
		errs = append(errs, err)
	}
	if r.Timeout, err = positive("ready.timeout", c.Timeout); err != nil {
		errs = append(errs, err)
	}
	t.Ready = r
	return errors.Join(errs...)
}

// literalHost refuses names, which would be looked up outside of the pod.
func literalHost(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if host == "" || host == "localhost" || net.ParseIP(host) != nil {
		return nil
	}
	return errors.New("want an IP address or localhost: names are not looked up in the pod")
}

func setPreStop(t *pod.Task, c *PreStopConfig) error {
	if c == nil {
		return nil
	}
	timeout, err := positive("pre_stop.timeout", c.Timeout)
	t.PreStop = &pod.PreStop{Args: append([]string{c.Command}, c.Args...), Timeout: timeout}
	if c.Command == "" {
		err = errors.Join(err, errors.New("pre_stop.command is empty: set it to the program to run"))
	}
	return err
}

func setVolumes(t *pod.Task, volumes map[string]VolumeConfig) error {
	var errs []error
	for _, name := range sortedKeys(volumes) {
		v := volumes[name]
		if !filepath.IsAbs(v.Target) {
			errs = append(errs, fmt.Errorf("pod_volume %q: target = %q: want an absolute path in the task", name, v.Target))
		}
		var size int64
		if v.Size != "" {
			var err error
			if size, err = parseSize(v.Size); err != nil {
				errs = append(errs, fmt.Errorf("pod_volume %q: size = %q: %w", name, v.Size, err))
			}
		}
		t.Volumes = append(t.Volumes, pod.Volume{Name: name, Target: v.Target, SizeBytes: size, Readonly: v.Readonly})
	}
	return errors.Join(errs...)
}

func positive(key, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s = %q: want a duration above 0 such as \"500ms\" or \"30s\"", key, value)
	}
	return d, nil
}
