package driver_test

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/helper/pluginutils/hclspecutils"
	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// dockerOptions are the options of the docker driver that the example uses, as named in its
// documentation.
var dockerOptions = []string{
	"args", "cap_add", "cap_drop", "command", "cpu_cfs_period", "cpu_hard_limit", "devices", "entrypoint",
	"extra_hosts", "force_pull", "group_add", "image", "image_pull_timeout", "init", "labels", "mount",
	"oom_score_adj", "pids_limit", "ports", "privileged", "readonly_rootfs", "security_opt", "sysctl",
	"ulimit", "userns_mode", "volumes", "work_dir",
}

// wantFacts is the output of the example with the docker driver. Each line follows from the
// documentation of an option.
const wantFacts = `arguments: 2 two words
directory: /work/dir
user: 1234:5678
groups: Groups: 4 4321 5678
first process: another
capabilities: CapBnd: 0000000000000401
privileges: NoNewPrivs: 1
seccomp: Seccomp: 2
root: read-only
volume: read-only
bind: read-only facts
tmpfs: tmpfs 1777 x
device: 1:3
open files: 128 256
sysctl: 4242
processes: 100
period: 50000
out of memory: 500
users: 0 0 4294967295
hosts: 10.1.2.3 db.example
`

// TestStart_DockerJob checks that a job of the docker driver runs with only the driver's name
// changed.
func TestStart_DockerJob(t *testing.T) {
	sandbox.Require(t)
	job := exampleTask(t, "docker-options.nomad.hcl")
	for _, option := range dockerOptions {
		must.MapContainsKey(t, job.Config, option)
	}
	must.MapLen(t, len(dockerOptions), job.Config)
	must.Greater(t, 24, len(dockerOptions))

	mirrorOfDockerHub(t, "library/debian:12-slim", shellImage(t, v1.Config{}))
	namespace := networkNamespace(t)
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		tk := n.newTask("", job.Name, driver.TaskConfig{}, func(c *drivers.TaskConfig) {
			c.User = job.User
			c.Resources.LinuxResources.PercentTicks = 0.5
			c.NetworkIsolation = &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: namespace,
				HostsConfig: &drivers.HostsConfig{Hostname: "example", Address: "172.26.64.2"}}
		})
		n.encode(tk, job.Config, nil)
		for _, template := range job.Templates {
			path := filepath.Join(tk.TaskDir().Dir, *template.DestPath)
			must.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must.NoError(t, os.WriteFile(path, []byte(*template.EmbeddedTmpl), 0o644))
		}
		tk.start()
		must.True(t, tk.wait().Successful())
		must.Eq(t, wantFacts, withPrimary(tk.output("stdout", contains("hosts: "))))
	})
}

// withPrimary adds the primary group to the list of groups. Not every runtime lists it.
func withPrimary(text string) string {
	return regexp.MustCompile(`Groups: 4 4321 ?(5678)?`).ReplaceAllString(text, "Groups: 4 4321 5678")
}

// exampleTask returns the only task of an example.
func exampleTask(t *testing.T, file string) *api.Task {
	t.Helper()
	path := filepath.Join("..", "..", "jobs", "examples", file)
	src, err := os.ReadFile(path)
	must.NoError(t, err)
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: path, Body: src})
	must.NoError(t, err)
	must.SliceLen(t, 1, job.TaskGroups)
	must.SliceLen(t, 1, job.TaskGroups[0].Tasks)
	task := job.TaskGroups[0].Tasks[0]
	must.Eq(t, driver.Name, task.Driver)
	return task
}

// encode reads a config block as a Nomad client does.
func (n *node) encode(tk *task, config map[string]any, vars map[string]cty.Value) {
	n.t.Helper()
	schema, err := n.impl.TaskConfigSchema()
	must.NoError(n.t, err)
	spec, diags := hclspecutils.Convert(schema)
	must.False(n.t, diags.HasErrors(), must.Sprint(diags))
	value, diags, errs := hclutils.ParseHclInterface(config, spec, vars)
	must.False(n.t, diags.HasErrors(), must.Sprint(diags))
	must.SliceEmpty(n.t, errs)
	must.NoError(n.t, tk.EncodeDriverConfig(value))
}

// networkNamespace creates a network namespace, as Nomad does for a group in bridge mode.
func networkNamespace(t *testing.T) string {
	t.Helper()
	const name = "podtest"
	ip := func(args ...string) {
		out, err := exec.Command("ip", args...).CombinedOutput()
		must.NoError(t, err, must.Sprint(string(out)))
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "delete", name) })
	return "/run/netns/" + name
}

// mirrorOfDockerHub serves an image on loopback as a mirror of docker.io.
func mirrorOfDockerHub(t *testing.T, repository string, img v1.Image) {
	t.Helper()
	host := insecureRegistry(t)
	ref, err := name.NewTag(host+"/"+repository, name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, img, testimage.NoKeepAlive()))
	conf := filepath.Join(t.TempDir(), "registries.conf")
	must.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nprefix = \"docker.io\"\nlocation = \""+host+"\"\ninsecure = true\n"), 0o644))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	sysregistriesv2.InvalidateCache()
}

// shellImage creates an image of this machine's shell and a few programs, with their libraries.
func shellImage(t *testing.T, config v1.Config) v1.Image {
	t.Helper()
	files := map[string]bool{"/etc/passwd": true, "/etc/group": true}
	library := regexp.MustCompile(`(/\S+) \(0x`)
	for _, program := range []string{"sh", "cat", "chown", "cut", "grep", "id", "ls", "mkdir", "sleep", "sort", "stat", "tail", "touch", "tr", "wc"} {
		path := filepath.Join("/bin", program)
		out, err := exec.Command("ldd", path).CombinedOutput()
		if err != nil {
			t.Skipf("%s is needed as the content of an image: %v: %s", path, err, out)
		}
		files[path] = true
		for _, match := range library.FindAllStringSubmatch(string(out), -1) {
			files[match[1]] = true
		}
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for path := range files {
		content, err := os.ReadFile(path)
		must.NoError(t, err)
		must.NoError(t, w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(content))}))
		_, err = w.Write(content)
		must.NoError(t, err)
	}
	for _, dir := range []string{"tmp", "data"} {
		must.NoError(t, w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: int64(fs.ModePerm)}))
	}
	must.NoError(t, w.WriteHeader(&tar.Header{Name: "data/from-image", Mode: 0o644}))
	must.NoError(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must.NoError(t, err)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers"}, Config: config,
	})
	must.NoError(t, err)
	img, err = mutate.AppendLayers(img, l)
	must.NoError(t, err)
	return img
}

// TestImageVolumesAndLabels checks that the volumes of an image are writable even if the root is
// read-only, unless the task mounts something else there.
func TestImageVolumesAndLabels(t *testing.T) {
	host := insecureRegistry(t)
	ref, err := name.NewTag(host+"/shell:v1", name.Insecure)
	must.NoError(t, err)
	must.NoError(t, remote.Write(ref, shellImage(t, v1.Config{
		Volumes: map[string]struct{}{"/data": {}, "/new/volume": {}, "/own": {}}, WorkingDir: "/data",
		Labels: map[string]string{"from": "image", "both": "image"},
	}), testimage.NoKeepAlive()))
	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for _, readonly := range []bool{true, false} {
			config := sh("ls /data; cd /new/volume && echo v > x && cat x; touch /data/x && ls; touch /file 2>/dev/null || echo read-only; stat -f -c %T /own")
			config.Image, config.ReadonlyRootfs, config.Tmpfs = host+"/shell:v1", readonly, []string{"/own"}
			config.Labels = map[string]string{"both": "task"}
			tk := n.newTask("", "volumes", config, asRoot)
			tk.start()
			must.Eq(t, map[string]string{"from": "image", "both": "task"}, n.labels(tk))
			must.Eq(t, 0, tk.wait().ExitCode)
			want := "from-image\nv\nx\nread-only\ntmpfs\n"
			if !readonly {
				want = "from-image\nv\nx\ntmpfs\n"
			}
			must.Eq(t, want, tk.output("stdout", contains("tmpfs\n")))
		}
	})
}
