// Command device is a Nomad device plugin for tests. Its only device is /dev/fuse, which tasks do not
// have otherwise and which is harmless: reserving it gives a task the device node, read-only, a
// mount and variables, one of them as NVIDIA's plugin does.
//
// It monitors nothing: its device is always healthy.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/device"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

const deviceID = "fuse-0"

func main() {
	plugins.Serve(func(hclog.Logger) any { return &plugin{} })
}

// plugin implements device.DevicePlugin.
type plugin struct{ config config }

type config struct {
	// Dir is a host directory that is mounted with the device.
	Dir string `codec:"dir"`
}

func (*plugin) PluginInfo() (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{
		Type: base.PluginTypeDevice, PluginApiVersions: []string{device.ApiVersion010},
		PluginVersion: "v0.1.0", Name: "device",
	}, nil
}

func (*plugin) ConfigSchema() (*hclspec.Spec, error) {
	return hclspec.NewObject(map[string]*hclspec.Spec{"dir": hclspec.NewAttr("dir", "string", true)}), nil
}

func (p *plugin) SetConfig(c *base.Config) error {
	return base.MsgPackDecode(c.PluginConfig, &p.config)
}

// Fingerprint reports the device once and then waits for the end.
func (*plugin) Fingerprint(ctx context.Context) (<-chan *device.FingerprintResponse, error) {
	ch := make(chan *device.FingerprintResponse, 1)
	ch <- device.NewFingerprint(&device.DeviceGroup{
		Vendor: "test", Type: "file-system", Name: "fuse",
		Devices: []*device.Device{{ID: deviceID, Healthy: true}},
	})
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}

func (p *plugin) Reserve(ids []string) (*device.ContainerReservation, error) {
	for _, id := range ids {
		if id != deviceID {
			return nil, fmt.Errorf("no device %q", id)
		}
	}
	return &device.ContainerReservation{
		Envs:    map[string]string{"FUSE_DEVICE": deviceID, "NVIDIA_VISIBLE_DEVICES": deviceID},
		Mounts:  []*device.Mount{{TaskPath: "/opt/fuse", HostPath: p.config.Dir, ReadOnly: true}},
		Devices: []*device.DeviceSpec{{TaskPath: "/dev/own", HostPath: "/dev/fuse", CgroupPerms: "r"}},
	}, nil
}

// Stats reports nothing.
func (*plugin) Stats(ctx context.Context, _ time.Duration) (<-chan *device.StatsResponse, error) {
	ch := make(chan *device.StatsResponse)
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}
