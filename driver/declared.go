package driver

import (
	"maps"

	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// Name is the driver's name in a job: driver = "pod".
const Name = "pod"

// Version is the plugin's version. The release build sets it.
var Version = "0.1.0-dev"

func pluginInfo() *base.PluginInfoResponse {
	return &base.PluginInfoResponse{
		Type:              base.PluginTypeDriver,
		PluginApiVersions: []string{drivers.ApiVersion010},
		PluginVersion:     Version,
		Name:              Name,
	}
}

// capabilities of the driver. Nomad makes the network, so that tasks of other
// drivers can be in the same group.
func driverCapabilities() *drivers.Capabilities {
	return &drivers.Capabilities{
		SendSignals: true,
		Exec:        true,
		FSIsolation: fsisolation.Image,
		NetIsolationModes: []drivers.NetIsolationMode{
			drivers.NetIsolationModeHost, drivers.NetIsolationModeGroup, drivers.NetIsolationModeNone,
		},
		MustInitiateNetwork: false,
	}
}

// PluginConfig is the config block of the plugin in the agent's
// configuration.
type PluginConfig struct {
	Runtime   string      `codec:"runtime"`
	Conmon    string      `codec:"conmon"`
	DataDir   string      `codec:"data_dir"`
	RunDir    string      `codec:"run_dir"`
	HostPaths []string    `codec:"host_paths"`
	Image     ImageConfig `codec:"image"`
	PidsLimit int64       `codec:"pids_limit"`
	PodLinger string      `codec:"pod_linger"`
	AllowCaps []string    `codec:"allow_caps"`

	AllowHostNamespaces bool `codec:"allow_host_namespaces"`
}

// ImageConfig is the image block of the plugin's configuration.
type ImageConfig struct {
	AuthFile    string `codec:"auth_file"`
	PullTimeout string `codec:"pull_timeout"`
	GC          bool   `codec:"gc"`
	GCDelay     string `codec:"gc_delay"`
}

func pluginConfigSpec() *hclspec.Spec {
	return hclspec.NewObject(map[string]*hclspec.Spec{
		"runtime": hclspec.NewAttr("runtime", "string", false),
		"conmon":  hclspec.NewAttr("conmon", "string", false),
		"data_dir": hclspec.NewDefault(hclspec.NewAttr("data_dir", "string", false),
			hclspec.NewLiteral(`"/var/lib/nomad-driver-pod"`)),
		"run_dir": hclspec.NewDefault(hclspec.NewAttr("run_dir", "string", false),
			hclspec.NewLiteral(`"/run/nomad-driver-pod"`)),
		"host_paths": hclspec.NewAttr("host_paths", "list(string)", false),
		"image": hclspec.NewDefault(hclspec.NewBlock("image", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"auth_file": hclspec.NewAttr("auth_file", "string", false),
			"pull_timeout": hclspec.NewDefault(hclspec.NewAttr("pull_timeout", "string", false),
				hclspec.NewLiteral(`"5m"`)),
			"gc": hclspec.NewDefault(hclspec.NewAttr("gc", "bool", false), hclspec.NewLiteral("true")),
			"gc_delay": hclspec.NewDefault(hclspec.NewAttr("gc_delay", "string", false),
				hclspec.NewLiteral(`"3m"`)),
		})), hclspec.NewLiteral(`{ pull_timeout = "5m", gc = true, gc_delay = "3m" }`)),
		"pids_limit": hclspec.NewDefault(hclspec.NewAttr("pids_limit", "number", false),
			hclspec.NewLiteral("4096")),
		"pod_linger": hclspec.NewDefault(hclspec.NewAttr("pod_linger", "string", false),
			hclspec.NewLiteral(`"1m"`)),
		"allow_caps":            hclspec.NewAttr("allow_caps", "list(string)", false),
		"allow_host_namespaces": hclspec.NewAttr("allow_host_namespaces", "bool", false),
	})
}

// TaskConfig is the config block of a task.
type TaskConfig struct {
	Image            string     `codec:"image"`
	ImagePullPolicy  string     `codec:"image_pull_policy"`
	ImagePullTimeout string     `codec:"image_pull_timeout"`
	Auth             AuthConfig `codec:"auth"`
	Platform         string     `codec:"platform"`

	Entrypoint []string `codec:"entrypoint"`
	Command    string   `codec:"command"`
	Args       []string `codec:"args"`
	WorkDir    string   `codec:"work_dir"`

	Share    []string `codec:"share"`
	Hostname string   `codec:"hostname"`
	PidMode  string   `codec:"pid_mode"`
	IPCMode  string   `codec:"ipc_mode"`
	UTSMode  string   `codec:"uts_mode"`

	PidsLimit      int64    `codec:"pids_limit"`
	CapAdd         []string `codec:"cap_add"`
	CapDrop        []string `codec:"cap_drop"`
	ReadonlyRootfs bool     `codec:"readonly_rootfs"`

	PodConfig
}

// AuthConfig is the auth block of a task.
type AuthConfig struct {
	Username string `codec:"username"`
	Password string `codec:"password"`
}

func taskConfigSpec() *hclspec.Spec {
	spec := map[string]*hclspec.Spec{
		"image":              hclspec.NewAttr("image", "string", false),
		"image_pull_policy":  hclspec.NewAttr("image_pull_policy", "string", false),
		"image_pull_timeout": hclspec.NewAttr("image_pull_timeout", "string", false),
		"auth": hclspec.NewBlock("auth", false, hclspec.NewObject(map[string]*hclspec.Spec{
			"username": hclspec.NewAttr("username", "string", true),
			"password": hclspec.NewAttr("password", "string", true),
		})),
		"platform": hclspec.NewAttr("platform", "string", false),

		"entrypoint": hclspec.NewAttr("entrypoint", "list(string)", false),
		"command":    hclspec.NewAttr("command", "string", false),
		"args":       hclspec.NewAttr("args", "list(string)", false),
		"work_dir":   hclspec.NewAttr("work_dir", "string", false),

		"share":    hclspec.NewAttr("share", "list(string)", false),
		"hostname": hclspec.NewAttr("hostname", "string", false),
		"pid_mode": hclspec.NewAttr("pid_mode", "string", false),
		"ipc_mode": hclspec.NewAttr("ipc_mode", "string", false),
		"uts_mode": hclspec.NewAttr("uts_mode", "string", false),

		"pids_limit":      hclspec.NewAttr("pids_limit", "number", false),
		"cap_add":         hclspec.NewAttr("cap_add", "list(string)", false),
		"cap_drop":        hclspec.NewAttr("cap_drop", "list(string)", false),
		"readonly_rootfs": hclspec.NewAttr("readonly_rootfs", "bool", false),
	}
	maps.Copy(spec, podConfigSpec())
	return hclspec.NewObject(spec)
}
