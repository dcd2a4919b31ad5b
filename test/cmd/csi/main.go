// Command csi is a CSI plugin for tests: controller and node in one, with directories as volumes. It
// listens on the socket in CSI_ENDPOINT.
//
// It implements only the parts that Nomad requires: no staging, no snapshots, no capacity, and only
// volumes with a file system.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	dir := flag.String("volumes", "", "directory with a subdirectory per volume")
	flag.Parse()
	if err := serve(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "csi:", err)
		os.Exit(1)
	}
}

// serve handles requests until the process is asked to end.
func serve(dir string) error {
	socket, ok := strings.CutPrefix(os.Getenv("CSI_ENDPOINT"), "unix://")
	if !ok {
		return errors.New("CSI_ENDPOINT is not set to unix://PATH: Nomad does that for a task with a csi_plugin block")
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server, p := grpc.NewServer(), plugin{dir: dir}
	csi.RegisterIdentityServer(server, identity{})
	csi.RegisterControllerServer(server, controller{plugin: p})
	csi.RegisterNodeServer(server, node{plugin: p})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, server.Stop)
	return server.Serve(listener)
}

// plugin is shared by controller and node.
type plugin struct{ dir string }

// volume returns the directory of a volume; the id must be a single path element.
func (p plugin) volume(id string) (string, error) {
	if id == "" || id != filepath.Base(id) || id == ".." || id == "." {
		return "", status.Errorf(codes.InvalidArgument, "volume id %q is not a name", id)
	}
	return filepath.Join(p.dir, id), nil
}

type identity struct {
	csi.UnimplementedIdentityServer
}

func (identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: "directories.test", VendorVersion: "1.0.0"}, nil
}

func (identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{{
		Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{
			Type: csi.PluginCapability_Service_CONTROLLER_SERVICE,
		}},
	}}}, nil
}

func (identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

type controller struct {
	csi.UnimplementedControllerServer
	plugin
}

func (controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{
			Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

func (c controller) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	dir, err := c.volume(r.GetName())
	if err == nil {
		err = os.Mkdir(dir, 0o777)
	}
	if err == nil {
		err = os.Chmod(dir, 0o777) // regardless of the umask
	}
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: r.GetName()}}, nil
}

func (c controller) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	dir, err := c.volume(r.GetVolumeId())
	if err == nil {
		err = os.RemoveAll(dir)
	}
	return &csi.DeleteVolumeResponse{}, err
}

func (controller) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: r.GetVolumeCapabilities(),
	}}, nil
}

type node struct {
	csi.UnimplementedNodeServer
	plugin
}

func (node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: "this"}, nil
}

func (node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodePublishVolume mounts a volume at the path that Nomad, outside this task, expects.
func (n node) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	dir, err := n.volume(r.GetVolumeId())
	if err == nil {
		err = os.MkdirAll(r.GetTargetPath(), 0o755)
	}
	if err == nil {
		err = unix.Mount(dir, r.GetTargetPath(), "", unix.MS_BIND, "")
	}
	return &csi.NodePublishVolumeResponse{}, err
}

func (node) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	err := unix.Unmount(r.GetTargetPath(), 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, os.ErrNotExist) {
		err = nil // already done
	}
	if err == nil {
		err = os.RemoveAll(r.GetTargetPath())
	}
	return &csi.NodeUnpublishVolumeResponse{}, err
}
