package driver

import (
	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// Name is the driver's name in a job: driver = "pod".
const Name = "pod"

// Version is the plugin's version, and Commit the full hash of its source, empty if
// unknown. scripts/build.sh sets them.
var (
	Version = "0.1.0-dev"
	Commit  string
)

func pluginInfo() *base.PluginInfoResponse {
	return &base.PluginInfoResponse{
		Type:              base.PluginTypeDriver,
		PluginApiVersions: []string{drivers.ApiVersion010},
		PluginVersion:     Version,
		Name:              Name,
	}
}

// driverCapabilities returns the driver's capabilities. Nomad creates the network,
// so that tasks of other drivers can be in the same group.
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

// PluginConfig is the plugin's config block in the agent's configuration.
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

	SharedMemoryMax string `codec:"shared_memory_max"`

	AllowHostNamespaces bool         `codec:"allow_host_namespaces"`
	AllowedModes        AllowedModes `codec:"allowed_modes"`

	Volumes         VolumesConfig `codec:"volumes"`
	AllowPrivileged bool          `codec:"allow_privileged"`
	AllowDevices    []string      `codec:"allow_devices"`
	CDISpecDirs     []string      `codec:"cdi_spec_dirs"`
	DebugContainers bool          `codec:"debug_containers"`
	LogCollector    string        `codec:"log_collector"`
	LogIndex        string        `codec:"log_index"`
	LogIndexMeta    []string      `codec:"log_index_meta"`

	UlimitMax hclutils.MapStrStr `codec:"ulimit_max"`
	SwapMax   string             `codec:"swap_max"`
	LogsMax   string             `codec:"logs_max"`

	Metrics MetricsConfig `codec:"metrics"`

	Userns UsernsConfig `codec:"userns"`

	Runtimes RuntimesConfig `codec:"runtimes"`

	DeniedHostUIDs string `codec:"denied_host_uids"`
	DeniedHostGIDs string `codec:"denied_host_gids"`
}

// AllowedModes is the allowed_modes block of the plugin's configuration: patterns for the values
// of pid_mode and the like.
type AllowedModes struct {
	PID    []string `codec:"pid"`
	IPC    []string `codec:"ipc"`
	UTS    []string `codec:"uts"`
	Userns []string `codec:"userns"`
}

// ImageConfig is the image block of the plugin's configuration.
type ImageConfig struct {
	AuthFile            string   `codec:"auth_file"`
	RegistriesConf      string   `codec:"registries_conf"`
	SignaturePolicy     string   `codec:"signature_policy"`
	Paths               []string `codec:"paths"`
	PullTimeout         string   `codec:"pull_timeout"`
	PullActivityTimeout string   `codec:"pull_activity_timeout"`
	GC                  bool     `codec:"gc"`
	GCDelay             string   `codec:"gc_delay"`
	GCHigh              string   `codec:"gc_high"`
	GCLow               string   `codec:"gc_low"`
	Keep                []string `codec:"keep"`
	AdditionalStores    []string `codec:"additional_stores"`
}

// MetricsConfig is the metrics block of the plugin's configuration.
type MetricsConfig struct {
	Address  string `codec:"address"`
	Textfile string `codec:"textfile"`
}

// UsernsConfig is the userns block of the plugin's configuration.
type UsernsConfig struct {
	First    int64 `codec:"first"`
	Size     int64 `codec:"size"`
	Required bool  `codec:"required"`
}

// VolumesConfig is the volumes block of the plugin's configuration.
type VolumesConfig struct {
	Enabled bool `codec:"enabled"`
}

func pluginConfigSpec() *hclspec.Spec { return specOf(pluginKeys()) }

// TaskConfig is the config block of a task.
type TaskConfig struct {
	Image            string     `codec:"image"`
	ImagePullPolicy  string     `codec:"image_pull_policy"`
	ImagePullTimeout string     `codec:"image_pull_timeout"`
	Auth             AuthConfig `codec:"auth"`
	Platform         string     `codec:"platform"`
	PullOnly         bool       `codec:"pull_only"`

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

	Ready       *ReadyConfig            `codec:"ready"`
	After       []string                `codec:"after"`
	RestartWith []string                `codec:"restart_with"`
	Live        *LiveConfig             `codec:"live"`
	PreStop     *PreStopConfig          `codec:"pre_stop"`
	PodVolumes  map[string]VolumeConfig `codec:"pod_volume"`
	ShmSize     string                  `codec:"shm_size"`

	KillSignal  string `codec:"kill_signal"`
	KillTimeout string `codec:"kill_timeout"`

	ForcePull bool               `codec:"force_pull"`
	Init      bool               `codec:"init"`
	TTY       bool               `codec:"tty"`
	GroupAdd  []string           `codec:"group_add"`
	Labels    hclutils.MapStrStr `codec:"labels"`

	Volumes []string      `codec:"volumes"`
	Mounts  []MountConfig `codec:"mount"`
	// MountsAlias holds the blocks named mounts, the docker driver's other name for mount.
	MountsAlias []MountConfig  `codec:"mounts"`
	Tmpfs       []string       `codec:"tmpfs"`
	Devices     []DeviceConfig `codec:"devices"`
	CDIDevices  []string       `codec:"cdi_devices"`

	Ulimit       hclutils.MapStrStr `codec:"ulimit"`
	Sysctl       hclutils.MapStrStr `codec:"sysctl"`
	CPUHardLimit bool               `codec:"cpu_hard_limit"`
	CPUCFSPeriod int64              `codec:"cpu_cfs_period"`
	MemorySwap   string             `codec:"memory_swap"`
	OOMScoreAdj  int                `codec:"oom_score_adj"`

	Privileged  bool     `codec:"privileged"`
	SecurityOpt []string `codec:"security_opt"`
	Runtime     string   `codec:"runtime"`
	Userns      string   `codec:"userns"`
	UsernsMode  string   `codec:"userns_mode"`

	ExtraHosts []string `codec:"extra_hosts"`
	Ports      []string `codec:"ports"`

	Logs *LogsConfig `codec:"logs"`
}

// LogsConfig is the logs block of a task.
type LogsConfig struct {
	MaxFiles      int `codec:"max_files"`
	MaxFileSizeMB int `codec:"max_file_size"`
}

// AuthConfig is the auth block of a task.
type AuthConfig struct {
	Username string `codec:"username"`
	Password string `codec:"password"`

	ServerAddress string `codec:"server_address"`
	Email         string `codec:"email"`
	TLSVerify     *bool  `codec:"tls_verify"`
}

// DeviceConfig is a devices block of a task.
type DeviceConfig struct {
	HostPath          string `codec:"host_path"`
	ContainerPath     string `codec:"container_path"`
	CgroupPermissions string `codec:"cgroup_permissions"`
}

// MountConfig is a mount block of a task.
type MountConfig struct {
	Type         string       `codec:"type"`
	Source       string       `codec:"source"`
	Target       string       `codec:"target"`
	Readonly     bool         `codec:"readonly"`
	BindOptions  BindOptions  `codec:"bind_options"`
	TmpfsOptions TmpfsOptions `codec:"tmpfs_options"`
	ImageOptions ImageOptions `codec:"image_options"`

	ImagePullPolicy string    `codec:"image_pull_policy"`
	Auth            MountAuth `codec:"auth"`
}

// MountAuth is the auth block of a mount.
type MountAuth struct {
	Username string `codec:"username"`
	Password string `codec:"password"`
}

// BindOptions is the bind_options block of a mount.
type BindOptions struct {
	Propagation string `codec:"propagation"`
}

// TmpfsOptions is the tmpfs_options block of a mount.
type TmpfsOptions struct {
	SizeBytes int64 `codec:"size"`
	Mode      int64 `codec:"mode"`
}

// ImageOptions is the image_options block of a mount.
type ImageOptions struct {
	Subpath string `codec:"subpath"`
}

func taskConfigSpec() *hclspec.Spec {
	keys := taskKeys()
	for i, k := range keys {
		if k.name == "mount" || k.name == "mounts" {
			keys[i].keys = append(k.keys, volumeOptions())
		}
	}
	for _, k := range compatKeys() {
		keys = append(keys, k.key)
	}
	return specOf(keys)
}
