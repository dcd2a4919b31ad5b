package driver

import (
	"context"
	"os"
	"os/signal"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// Serve serves the driver to the Nomad client that started this process, until that
// client disconnects.
func Serve() {
	outliveClient()
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, JSONFormat: true})
	d := New(log)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: base.Handshake,
		Plugins: map[string]plugin.Plugin{
			base.PluginTypeBase:   &base.PluginBase{Impl: d},
			base.PluginTypeDriver: drivers.NewDriverPlugin(d, log),
		},
		GRPCServer: d.server,
		Logger:     log,
	})
}

// outliveClient keeps a broken pipe from ending this process. After a client was killed,
// standard error is a broken pipe, and the next client reuses this process: its next log
// line would end it, in the middle of a task start (SIGPIPE in the documentation of
// os/signal). Unlike an ignored signal, a caught one is not inherited by programs.
func outliveClient() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }

func (d *Driver) server(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.UnaryInterceptor(d.declareLogs))...)
}

// declareLogs adds to the capabilities that the driver collects logs itself, so that
// Nomad starts no logmon. The field is in Nomad's protocol and its client supports
// it, but its plugin server never sets it (plugins/drivers/server.go).
func (d *Driver) declareLogs(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, req)
	if r, ok := response.(*proto.CapabilitiesResponse); ok && err == nil && r.Capabilities != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		r.Capabilities.DisableLogCollection = d.settings.LogCollector == collectorPod
	}
	return response, err
}
