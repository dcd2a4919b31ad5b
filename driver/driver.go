// Package driver is Nomad's side of nomad-driver-pod: it declares the task
// driver, reads its configuration and that of tasks, says whether this host
// can run pods, and passes Nomad's calls on to package pod.
//
// It is the only package of the driver that imports Nomad. It makes no
// namespace, mount or process itself.
package driver

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/client/lib/cpustats"
	"github.com/hashicorp/nomad/drivers/shared/eventer"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/ociruntime"
	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

// Driver implements Nomad's drivers.DriverPlugin.
type Driver struct {
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time
	log    hclog.Logger
	events *eventer.Eventer

	probing sync.Mutex // held while a host is looked at, which may take long

	mu       sync.Mutex
	settings settings
	compute  cpustats.Compute
	host     *host        // nil until this host was found able
	kept     *pod.Manager // of the node's pods; nil until the first task
}

// Driver is all of these.
var (
	_ drivers.DriverPlugin               = (*Driver)(nil)
	_ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)
)

// New returns a driver. Nomad makes several, most of them only to ask what
// they can do, so it touches nothing.
func New(log hclog.Logger) *Driver {
	ctx, cancel := context.WithCancel(context.Background())
	log = log.Named(Name)
	return &Driver{ctx: ctx, cancel: cancel, began: time.Now(), log: log, events: eventer.NewEventer(ctx, log)}
}

// Close ends all that runs in the background. Tasks go on.
func (d *Driver) Close() error {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil {
		return nil
	}
	return d.kept.Close()
}

// PluginInfo tells what kind of plugin this is.
func (d *Driver) PluginInfo() (*base.PluginInfoResponse, error) { return pluginInfo(), nil }

// ConfigSchema describes the plugin's config block.
func (d *Driver) ConfigSchema() (*hclspec.Spec, error) { return pluginConfigSpec(), nil }

// TaskConfigSchema describes the config block of a task. Nomad asks for it when
// it begins with a task, some time before it has the task started.
func (d *Driver) TaskConfigSchema() (*hclspec.Spec, error) {
	if m := d.pods(); m != nil {
		m.Expect()
	}
	return taskConfigSpec(), nil
}

// Capabilities tells what the driver can do.
func (d *Driver) Capabilities() (*drivers.Capabilities, error) { return driverCapabilities(), nil }

// SetConfig takes the operator's configuration.
func (d *Driver) SetConfig(cfg *base.Config) error {
	var c PluginConfig
	if len(cfg.PluginConfig) != 0 {
		if err := base.MsgPackDecode(cfg.PluginConfig, &c); err != nil {
			return fmt.Errorf("decode plugin config: %w", err)
		}
	}
	s, err := newSettings(c)
	if err != nil {
		return fmt.Errorf("plugin config: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings, d.host = s, nil
	if cfg.AgentConfig != nil {
		d.compute = cfg.AgentConfig.Compute()
	}
	return nil
}

// able returns what the host has, and finds that out where it is not known.
func (d *Driver) able(ctx context.Context) (*host, error) {
	d.probing.Lock()
	defer d.probing.Unlock()
	d.mu.Lock()
	h, s := d.host, d.settings
	d.mu.Unlock()
	if h != nil && h.present() {
		return h, nil
	}
	h, err := findHost(ctx, s)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host = h
	return h, err
}

// manager returns the pods of this node, and begins to keep them where this
// is the first call.
func (d *Driver) manager() (*pod.Manager, *host, error) {
	h, err := d.able(d.ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("this host can not run pods: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ctx.Err(); err != nil { // Close has nothing more to close
		return nil, nil, err
	}
	if d.kept == nil {
		d.kept = pod.New(d.podConfig(h))
	}
	return d.kept, h, nil
}

// danglingAfter is when a task that Nomad has not recovered is forgotten.
// Nomad recovers its tasks one after the other when the client starts.
const danglingAfter = 5 * time.Minute

// unreadFor is how long a task waits for a new log collector of Nomad's. With
// most restarts of an agent there is one by then.
const unreadFor = 30 * time.Second

func (d *Driver) podConfig(h *host) pod.Config {
	s := d.settings
	images := filepath.Join(s.DataDir, "images")
	return pod.Config{
		RunDir: s.RunDir, DataDir: s.DataDir,
		Runtime: ociruntime.Runtime{Path: h.runtime.Path, StateDir: filepath.Join(s.RunDir, "runtime")},
		Monitor: h.monitor, Init: h.init, Cgroups: h.cgroups, AppArmor: h.profile,
		HostPaths: s.hostPaths, SharedMemoryMax: s.sharedMemoryMax, Linger: s.podLinger, DanglingAfter: danglingAfter, ImageGCDelay: s.gcDelay, UnreadFor: unreadFor, Log: d.log,
		Images: image.Config{
			Root: images, RunRoot: filepath.Join(s.RunDir, "images"),
			AuthFile: s.Image.AuthFile, RegistriesConf: s.Image.RegistriesConf, SignaturePolicyFile: s.Image.SignaturePolicy,
			PullTimeout: s.pullTimeout, PullIdleTimeout: s.pullIdleTimeout,
		},
		Event: d.emit,
		Trace: d.trace,
	}
}
