package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
)

// writes prints "yes" if a task can write to a directory.
func writes(dir string) string {
	return fmt.Sprintf("(touch %s/probe 2>&1 && echo yes) | grep -o -e yes -e Read-only", dir)
}

// peers prints the propagation of the mount at a path: shared, master (slave of the host), or
// private.
func peers(path string) string {
	return fmt.Sprintf(`awk '$5 == "%s" { print ($0 ~ / shared:/) ? "shared" : ($0 ~ / master:/) ? "master" : "private" }' /proc/self/mountinfo`, path)
}

// TestStaticHostVolumes checks write access and mount propagation of volumes in the client's
// configuration.
func TestStaticHostVolumes(t *testing.T) {
	sandbox.Require(t)
	dir := t.TempDir()
	must.NoError(t, os.Chmod(dir, 0o777))
	must.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644))
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		alloc := c.runSingleTask(singleTask{name: "static", group: `
			volume "open" {
				type   = "host"
				source = "open"
			}
			volume "readonly" {
				type      = "host"
				source    = "open"
				read_only = true
			}
			volume "frozen" {
				type      = "host"
				source    = "frozen"
				read_only = true
			}`, task: `
			user = "root"
			volume_mount {
				volume      = "open"
				destination = "/open"
			}
			volume_mount {
				volume      = "open"
				destination = "/mount-readonly"
				read_only   = true
			}
			volume_mount {
				volume      = "readonly"
				destination = "/volume-readonly"
			}
			volume_mount {
				volume      = "frozen"
				destination = "/frozen"
			}
			volume_mount {
				volume           = "open"
				destination      = "/hears"
				propagation_mode = "host-to-task"
			}
			volume_mount {
				volume           = "open"
				destination      = "/tells"
				propagation_mode = "bidirectional"
			}`})
		c.expectOutput(alloc, "cat /open/file /frozen/file", "of the host", "of the host")
		for target, can := range map[string]string{
			"/open": "yes", "/mount-readonly": "Read-only", "/volume-readonly": "Read-only", "/frozen": "Read-only", "/hears": "yes",
		} {
			c.expectOutput(alloc, writes(target), can)
		}
		_, err := os.Stat(filepath.Join(dir, "probe"))
		must.NoError(c.t, err)
		for target, how := range map[string]string{"/open": "private", "/hears": "master", "/tells": "shared"} {
			c.expectOutput(alloc, peers(target), how)
		}

		late := filepath.Join(dir, "late")
		must.NoError(c.t, os.MkdirAll(late, 0o755))
		must.NoError(c.t, unix.Mount("late", late, "tmpfs", 0, ""))
		defer func() { must.NoError(c.t, unix.Unmount(late, unix.MNT_DETACH)) }()
		must.NoError(c.t, os.WriteFile(filepath.Join(late, "file"), nil, 0o644))
		c.expectOutput(alloc, "ls /hears/late /tells/late", "/hears/late:", "file", "", "/tells/late:", "file")
		c.expectOutput(alloc, "ls /open/late | wc -l", "0")
	}, func(o *agent.Options) {
		o.ClientConfig += fmt.Sprintf(`client {
			host_volume "open" { path = %[1]q }
			host_volume "frozen" {
				path      = %[1]q
				read_only = true
			}
		}`, dir)
	})
}

// TestDynamicHostVolume checks that a dynamic host volume outlives the tasks that use it.
func TestDynamicHostVolume(t *testing.T) {
	onSharedAgent(t, matrix.One(), func(c *cluster) {
		volumes := c.Client().HostVolumes()
		made, _, err := volumes.Create(&api.HostVolumeCreateRequest{Volume: &api.HostVolume{
			Name: "kept", PluginID: "mkdir", Parameters: map[string]string{"mode": "0777"},
			RequestedCapabilities: []*api.HostVolumeCapability{{
				AccessMode:     api.HostVolumeAccessModeSingleNodeWriter,
				AttachmentMode: api.HostVolumeAttachmentModeFilesystem,
			}},
		}}, nil)
		must.NoError(c.t, err)
		c.eventually("the volume is ready", func() error {
			v, _, err := volumes.Get(made.Volume.ID, nil)
			if err == nil && v.State != api.HostVolumeStateReady {
				err = fmt.Errorf("status is %s", v.State)
			}
			return err
		})
		job := singleTask{name: "dynamic", group: volumeBlock("host", "kept"), task: `volume_mount {
			volume      = "data"
			destination = "/data"
		}`}
		c.checkKeptBetweenTasks(job)
		_, _, err = volumes.Delete(&api.HostVolumeDeleteRequest{ID: made.Volume.ID}, nil)
		must.NoError(c.t, err)
		_, err = os.Stat(made.Volume.HostPath)
		must.ErrorIs(c.t, err, os.ErrNotExist)
	})
}

func volumeBlock(kind, source string) string {
	return fmt.Sprintf(`volume "data" {
		type            = %q
		source          = %q
		access_mode     = "single-node-writer"
		attachment_mode = "file-system"
	}`, kind, source)
}

// checkKeptBetweenTasks writes to /data in one allocation and reads it in the next.
func (c *cluster) checkKeptBetweenTasks(job singleTask) {
	c.t.Helper()
	for _, script := range []string{"echo kept > /data/file; cat /data/file", "cat /data/file"} {
		alloc := c.runSingleTask(job)
		c.expectOutput(alloc, script, "kept")
		c.expectOutput(alloc, peers("/data"), "private")
		c.stop(job.name, alloc)
	}
}

// stop stops a job and waits for the end of its allocation.
func (c *cluster) stop(job string, alloc *api.Allocation) {
	c.t.Helper()
	_, _, err := c.Client().Jobs().Deregister(job, false, nil)
	must.NoError(c.t, err)
	c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
}

// TestCSIVolume checks that a CSI plugin can run in a pod and mount volumes for tasks of other
// pods.
func TestCSIVolume(t *testing.T) {
	dir := t.TempDir()
	build(t, dir, "test/cmd/csi")
	onOwnAgent(t, matrix.One(), func(c *cluster) {
		plugin := c.run(testdata(c.t, "csi.nomad.hcl"), api.AllocClientStatusRunning)
		defer func() { c.stop("csi", plugin) }()
		c.eventually("Nomad has registered the plugin", func() error {
			p, _, err := c.Client().CSIPlugins().Info("directories", nil)
			if err == nil && (p.NodesHealthy != 1 || p.ControllersHealthy != 1) {
				err = fmt.Errorf("plugin has %d healthy nodes and %d controllers", p.NodesHealthy, p.ControllersHealthy)
			}
			return err
		})
		volumes := c.Client().CSIVolumes()
		_, _, err := volumes.Create(&api.CSIVolume{
			ID: "kept", Name: "kept", PluginID: "directories",
			RequestedCapabilities: []*api.CSIVolumeCapability{{
				AccessMode:     api.CSIVolumeAccessModeSingleNodeWriter,
				AttachmentMode: api.CSIVolumeAttachmentModeFilesystem,
			}},
		}, nil)
		must.NoError(c.t, err)
		c.checkKeptBetweenTasks(singleTask{name: "claims", group: volumeBlock("csi", "kept"), task: `volume_mount {
			volume      = "data"
			destination = "/data"
		}`})
		text, err := os.ReadFile(filepath.Join(c.SharedDir(plugin.ID), "data", "kept", "file"))
		must.NoError(c.t, err)
		must.Eq(c.t, "kept\n", string(text))
		c.eventually("the volume can be deleted", func() error {
			return volumes.DeleteOpts(&api.CSIVolumeDeleteRequest{ExternalVolumeID: "kept"}, nil)
		})
	}, func(o *agent.Options) {
		o.PluginConfig += "allow_privileged = true\n"
		o.HostPaths = append(o.HostPaths, dir+":/opt/test")
	})
}
