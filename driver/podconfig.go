package driver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// ReadyConfig is the ready block: one check, its interval and timeout.
type ReadyConfig struct {
	Exec     []string `codec:"exec"`
	HTTP     string   `codec:"http"`
	TCP      string   `codec:"tcp"`
	File     string   `codec:"file"`
	Interval string   `codec:"interval"`
	Timeout  string   `codec:"timeout"`
}

// LiveConfig is the live block: one check, its interval and timeout, and the failures in a row
// that end the task.
type LiveConfig struct {
	Exec     []string `codec:"exec"`
	HTTP     string   `codec:"http"`
	TCP      string   `codec:"tcp"`
	File     string   `codec:"file"`
	Interval string   `codec:"interval"`
	Timeout  string   `codec:"timeout"`
	Failures int      `codec:"failures"`
}

// PreStopConfig is the pre_stop block.
type PreStopConfig struct {
	Command string   `codec:"command"`
	Args    []string `codec:"args"`
	Timeout string   `codec:"timeout"`
}

// VolumeConfig is a pod_volume block. Size is a number of bytes, or a text such as
// "64m".
type VolumeConfig struct {
	Target   string `codec:"target"`
	Size     string `codec:"size"`
	Readonly bool   `codec:"readonly"`
}

// lifeKeys lists the keys about the life cycle of a task in its pod.
func lifeKeys() []key {
	return []key{
		{name: "ready", kind: "block", docker: none, podman: none,
			meaning: "the start returns, and main tasks may start, when the configured check passes inside the task's namespaces",
			keys: append(checkKeys(),
				key{name: "interval", kind: "string", value: `"250ms"`, meaning: "time between two attempts"},
				key{name: "timeout", kind: "string", value: `"1m"`, meaning: "limit for all attempts together; after it the task fails"},
			)},
		{name: "live", kind: "block", docker: none, podman: none,
			meaning: "a check that runs in the task's namespaces from when the task is ready; when it has failed, the task is stopped, and the job's `restart` block applies; see [Liveness](#liveness)",
			keys: append(checkKeys(),
				key{name: "interval", kind: "string", value: `"10s"`, meaning: "time between the begins of two attempts; at least `1s`"},
				key{name: "timeout", kind: "string", value: `"1s"`, meaning: "limit for one attempt, at most the interval"},
				key{name: "failures", kind: "number", value: "3", meaning: "failed attempts in a row that stop the task"},
			)},
		{name: "kill_signal", kind: "string", unset: "the image's `STOPSIGNAL`, or `SIGTERM`", docker: none, podman: none,
			meaning: "for a stop by the driver itself, as after `live` and `restart_with`: the same as the task's `kill_signal`, which Nomad passes to drivers only when it stops the task"},
		{name: "kill_timeout", kind: "string", unset: "`5s`", docker: none, podman: none,
			meaning: "the same for the task's `kill_timeout`; a shorter one suits a task that hangs"},
		{name: "after", kind: "list(string)", docker: none, podman: none,
			meaning: "tasks of the pod that must be ready before this one starts; at a stop they end after it"},
		{name: "restart_with", kind: "list(string)", docker: none, podman: none,
			meaning: "tasks of the pod that this one starts after and stops before, as with `after`; when one of them ends, this one is stopped, and the job's `restart` block applies; see [Shared fate](#shared-fate)"},
		{name: "pre_stop", kind: "block", docker: none, podman: none,
			meaning: "a command that runs in the task before the stop signal is sent, for at most half of the `kill_timeout`",
			keys: []key{
				{name: "command", kind: "string", required: true, meaning: "the program"},
				{name: "args", kind: "list(string)", meaning: "of the command"},
				{name: "timeout", kind: "string", value: `"5s"`, meaning: "after it the command is killed"},
			}},
		{name: "pod_volume", kind: "named blocks", docker: none, podman: none,
			meaning: "`pod_volume \"NAME\" { … }`: memory shared by all tasks of the pod that name it",
			keys: []key{
				{name: "target", kind: "string", required: true, meaning: "absolute path in the task"},
				{name: "size", kind: "string", unset: "another task's size, or `64m`", meaning: "`8m`, or a number of bytes; bounded by the operator's `shared_memory_max`"},
				{name: "readonly", kind: "bool", unset: "`false`", meaning: "for this task"},
			}},
		{name: "shm_size", kind: "string", unset: "64 MiB", meaning: "minimum size of `/dev/shm`: a number of bytes or `128m`; the tasks that share it get the largest, bounded by the operator's `shared_memory_max`"},
	}
}

// checkKeys lists the keys of a check, of which a block has one.
func checkKeys() []key {
	return []key{
		{name: "exec", kind: "list(string)", meaning: "a command in the task that exits with 0"},
		{name: "http", kind: "string", meaning: "a URL that returns a status from 200 to 399; its host is an IP address or `localhost`"},
		{name: "tcp", kind: "string", meaning: "an address that accepts connections; its host is an IP address or `localhost`"},
		{name: "file", kind: "string", meaning: "a path in the task that exists"},
	}
}

// setPod converts the keys and reports all errors.
func setPod(t *pod.Task, c TaskConfig) error {
	t.After = c.After
	var errs []error
	if slices.Contains(c.After, "") {
		errs = append(errs, errors.New("after: \"\": want the names of other tasks of the group"))
	}
	t.RestartWith = c.RestartWith
	if slices.Contains(c.RestartWith, "") {
		errs = append(errs, errors.New("restart_with: \"\": want the names of other tasks of the group"))
	}
	if c.ShmSize != "" {
		var err error
		if t.ShmSizeBytes, err = parseSize(c.ShmSize); err != nil {
			errs = append(errs, fmt.Errorf("shm_size = %q: %w", c.ShmSize, err))
		}
	}
	errs = append(errs, setReady(t, c.Ready), setLive(t, c.Live), setKill(t, c), setPreStop(t, c.PreStop), setPodVolumes(t, c.PodVolumes))
	return errors.Join(errs...)
}

func setReady(t *pod.Task, c *ReadyConfig) error {
	if c == nil {
		return nil
	}
	r := &pod.Ready{Check: pod.Check{Exec: c.Exec, HTTP: c.HTTP, TCP: c.TCP, File: c.File}}
	errs := []error{checkCheck("ready", r.Check)}
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

// minLiveInterval keeps a job from checking its tasks without pause, at the node's cost.
const minLiveInterval = time.Second

func setLive(t *pod.Task, c *LiveConfig) error {
	if c == nil {
		return nil
	}
	l := &pod.Live{Check: pod.Check{Exec: c.Exec, HTTP: c.HTTP, TCP: c.TCP, File: c.File}, Failures: c.Failures}
	errs := []error{checkCheck("live", l.Check)}
	var err error
	if l.Interval, err = positive("live.interval", c.Interval); err != nil {
		errs = append(errs, err)
	} else if l.Interval < minLiveInterval {
		errs = append(errs, fmt.Errorf("live.interval = %q: want at least %q", c.Interval, minLiveInterval))
	}
	if l.Timeout, err = positive("live.timeout", c.Timeout); err != nil {
		errs = append(errs, err)
	} else if l.Interval >= minLiveInterval && l.Timeout > l.Interval {
		errs = append(errs, fmt.Errorf("live.timeout = %q: want at most the live.interval of %q, so that one attempt ends before the next", c.Timeout, c.Interval))
	}
	if c.Failures < 1 {
		errs = append(errs, fmt.Errorf("live.failures = %d: want a number above 0", c.Failures))
	}
	t.Live = l
	return errors.Join(errs...)
}

// defaultKillTimeout is Nomad's.
const defaultKillTimeout = 5 * time.Second

func setKill(t *pod.Task, c TaskConfig) error {
	sig, err := pod.ParseSignal(c.KillSignal)
	if err != nil {
		err = fmt.Errorf("kill_signal = %q: %w", c.KillSignal, err)
	}
	t.Kill = pod.Kill{Signal: sig, Timeout: defaultKillTimeout}
	if c.KillTimeout != "" {
		var terr error
		t.Kill.Timeout, terr = positive("kill_timeout", c.KillTimeout)
		err = errors.Join(err, terr)
	}
	return err
}

// checkCheck validates the check of a block.
func checkCheck(block string, k pod.Check) error {
	var errs []error
	checks := 0
	for _, set := range []bool{len(k.Exec) > 0, k.HTTP != "", k.TCP != "", k.File != ""} {
		if set {
			checks++
		}
	}
	if checks != 1 {
		errs = append(errs, fmt.Errorf("%s has %d checks: set exactly one of exec, http, tcp and file", block, checks))
	}
	if len(k.Exec) > 0 && k.Exec[0] == "" {
		errs = append(errs, fmt.Errorf("%s.exec: its first word is empty: want the program to run", block))
	}
	if k.File != "" && !filepath.IsAbs(k.File) {
		errs = append(errs, fmt.Errorf("%s.file = %q: want an absolute path in the task", block, k.File))
	}
	return errors.Join(append(errs, checkHTTP(block, k.HTTP), checkTCP(block, k.TCP))...)
}

func checkHTTP(block, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s.http = %q: want a URL such as \"http://127.0.0.1:8080/health\"", block, text)
	}
	if err := literalHost(u.Host); err != nil {
		return fmt.Errorf("%s.http = %q: %w", block, text, err)
	}
	return nil
}

func checkTCP(block, text string) error {
	if text == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(text); err != nil {
		return fmt.Errorf("%s.tcp = %q: want an address such as \"127.0.0.1:8080\"", block, text)
	}
	if err := literalHost(text); err != nil {
		return fmt.Errorf("%s.tcp = %q: %w", block, text, err)
	}
	return nil
}

// literalHost refuses names, which would be resolved outside of the pod.
func literalHost(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if host == "" || host == "localhost" || net.ParseIP(host) != nil {
		return nil
	}
	return errors.New("want an IP address or localhost: names are not resolved in the pod")
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

func setPodVolumes(t *pod.Task, volumes map[string]VolumeConfig) error {
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
