// Package driver is the Nomad side of nomad-driver-pod: it declares the task
// driver, reads the plugin and task configuration, reports whether this host can
// run pods, and forwards Nomad's calls to package pod.
//
// It is the only package of the driver that imports Nomad. It does not create
// namespaces, mounts or processes itself.
package driver

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/client/lib/cpustats"
	"github.com/hashicorp/nomad/drivers/shared/eventer"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
	"github.com/nomad-sidecar/nomad-sidecar/driver/metrics"
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

	probing sync.Mutex // held while the host is probed, which can be slow

	metrics          *metrics.Metrics
	beginning        sync.Mutex     // held while one of background begins, or ctx ends
	background       sync.WaitGroup // goroutines that end with ctx
	serving, writing bool           // the metrics, at their address and to their file

	linkKind atomic.Value // string: of the links in the log index, once a task has shown it

	mu         sync.Mutex
	settings   settings
	compute    cpustats.Compute
	host       *host        // nil until a probe has succeeded
	podManager *pod.Manager // nil until the first task
	pulls      map[string]*pullTask
}

// interface checks
var (
	_ drivers.DriverPlugin               = (*Driver)(nil)
	_ drivers.ExecTaskStreamingRawDriver = (*Driver)(nil)
)

// New returns a driver. Nomad creates several, most of them only to read their
// schema, so New has no side effects.
func New(log hclog.Logger) *Driver {
	ctx, cancel := context.WithCancel(context.Background())
	log = log.Named(Name)
	d := &Driver{ctx: ctx, cancel: cancel, began: time.Now(), log: log, events: eventer.NewEventer(ctx, log), pulls: map[string]*pullTask{}}
	d.metrics = metrics.New(Version, d.metricsState)
	return d
}

// Close stops all background work. Tasks keep running.
func (d *Driver) Close() error {
	d.beginning.Lock()
	d.cancel()
	d.beginning.Unlock()
	d.background.Wait() // the next process can then use the same address
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.podManager == nil {
		return nil
	}
	return d.podManager.Close()
}

// PluginInfo returns the plugin's type, name and version.
func (d *Driver) PluginInfo() (*base.PluginInfoResponse, error) { return pluginInfo(), nil }

// ConfigSchema returns the schema of the plugin's config block.
func (d *Driver) ConfigSchema() (*hclspec.Spec, error) { return pluginConfigSpec(), nil }

// TaskConfigSchema returns the schema of a task's config block. Nomad calls it some
// time before it starts a task.
func (d *Driver) TaskConfigSchema() (*hclspec.Spec, error) {
	if m := d.pods(); m != nil {
		m.Expect()
	}
	return taskConfigSpec(), nil
}

// Capabilities returns the driver's capabilities.
func (d *Driver) Capabilities() (*drivers.Capabilities, error) { return driverCapabilities(), nil }

// SetConfig applies the operator's configuration.
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

// probedHost returns the probed host, and probes it if necessary.
func (d *Driver) probedHost(ctx context.Context) (*host, error) {
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

// manager returns the pod manager of this node and creates it on first use.
func (d *Driver) manager() (*pod.Manager, *host, error) {
	h, err := d.probedHost(d.ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("this host cannot run pods: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ctx.Err(); err != nil { // after Close, which would not close a new manager
		return nil, nil, err
	}
	if d.podManager == nil {
		d.podManager = pod.New(d.podConfig(h))
	}
	return d.podManager, h, nil
}

// danglingAfter is how long a task may stay unrecovered before it is removed. Nomad
// recovers its tasks one after the other when the client starts.
const danglingAfter = 5 * time.Minute

// unreadTimeout is how long a task may be blocked by full output pipes. Most agent
// restarts, after which Nomad starts a new log collector, are faster.
const unreadTimeout = 30 * time.Second

func (d *Driver) podConfig(h *host) pod.Config {
	s := d.settings
	images := filepath.Join(s.DataDir, "images")
	return pod.Config{
		RunDir: s.RunDir, DataDir: s.DataDir,
		Runtime: ociruntime.Runtime{Path: h.runtime.Path, StateDir: filepath.Join(s.RunDir, "runtime")},
		Gvisor:  s.gvisor(filepath.Join(s.RunDir, "runsc")),
		Monitor: h.monitor, Init: h.init, Cgroups: h.cgroups, AppArmor: h.profile,
		HostPaths: s.hostPaths, SharedMemoryMax: s.sharedMemoryMax, IDs: s.pool, Linger: s.podLinger, DanglingAfter: danglingAfter, ImageGCDelay: s.gcDelay, UnreadTimeout: unreadTimeout, Log: d.log,
		Images: image.Config{
			Root: images, RunRoot: filepath.Join(s.RunDir, "images"),
			AuthFile: s.Image.AuthFile, RegistriesConf: s.Image.RegistriesConf, SignaturePolicyFile: s.Image.SignaturePolicy,
			PullTimeout: s.pullTimeout, PullIdleTimeout: s.pullIdleTimeout,
			AdditionalStores: s.Image.AdditionalStores, Keep: s.Image.Keep, GCHigh: s.gcHigh, GCLow: s.gcLow,
		},
		Event:    d.emit,
		Trace:    d.trace,
		Observer: observer{d.metrics, d.began},
	}
}
