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

// Serve serves the driver to the Nomad client that started this process, and
// returns when that has gone.
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

// outliveClient keeps a broken pipe from ending this process. A client that is
// killed leaves one as standard error, and the next client takes this process
// over: it would end at the next line that it logs, which is in the middle of
// the next start of a task (SIGPIPE in the documentation of os/signal). A
// signal that is caught is not ignored by the programs that are started.
func outliveClient() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }

func (d *Driver) server(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options, grpc.UnaryInterceptor(d.declareLogs))...)
}

// declareLogs adds to the capabilities that the driver collects logs itself,
// so that Nomad starts no process for that. The field is in Nomad's protocol
// and its client heeds it, but its server for plugins never sets it
// (plugins/drivers/server.go).
func (d *Driver) declareLogs(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, req)
	if r, ok := response.(*proto.CapabilitiesResponse); ok && err == nil && r.Capabilities != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		r.Capabilities.DisableLogCollection = d.settings.LogCollector == collectorPod
	}
	return response, err
}
