package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
)

// Options configure an agent. The zero value is an agent without a plugin.
type Options struct {
	// Dir contains everything that the agent and the driver write. Start creates it and Stop
	// removes it.
	Dir string
	// Nomad is the path of the nomad binary.
	Nomad string
	// Plugin is the path of nomad-driver-pod, or "" for none.
	Plugin string
	// Runtime is the path of crun or runc, or "" for the driver's own choice.
	Runtime string
	// HostPaths are added to the driver's default host paths, each "host" or
	// "host:path in the task".
	HostPaths []string
	// PluginConfig is added to the driver's config block, and ClientConfig to the client's
	// configuration. Both are HCL.
	PluginConfig, ClientConfig string
	// ImageConfig is added to the image block of the driver's config.
	ImageConfig string
	// MorePlugins are paths of programs to add to the plugin directory. Nomad runs those that
	// have a plugin block in ClientConfig.
	MorePlugins []string
	// LogDir is a directory in which the agents' logs are kept. If it is empty, the logs are in
	// Dir and removed with it.
	LogDir string
	// DriverRunDir is the driver's run_dir; the default is in Dir.
	DriverRunDir string
	// LogLevel is the level of the agents' logs; the default is DEBUG.
	LogLevel string
	// ACL enables ACLs. Token then returns a management token.
	ACL bool
	// Docker is the address of a Docker daemon, such as unix:///run/docker.sock, for Nomad's
	// docker driver; "" for none.
	Docker string
}

// defaultHostPaths are the driver's defaults for tasks without an image. A list in the plugin's
// config replaces them, so additions must repeat them, and a path that the host does not have
// is an error there.
func defaultHostPaths() []string {
	return []string{
		"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr",
		"/etc/alternatives", "/etc/ca-certificates", "/etc/group", "/etc/ld.so.cache",
		"/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
		"/etc/nsswitch.conf", "/etc/passwd", "/etc/pki", "/etc/protocols",
		"/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
	}
}

// The roles of the two agents.
const (
	server = "server"
	client = "client"
)

// firstPort is below the ports that Nomad allocates, 20000 to 32000, and below the kernel's
// ephemeral ports, so that the ports stay free until an agent listens on them.
const firstPort = 14000

// ports are the loopback ports of the agents.
type ports struct{ HTTP, RPC, Serf, ClientHTTP int }

func portsFrom(first int) ports {
	return ports{HTTP: first, RPC: first + 1, Serf: first + 2, ClientHTTP: first + 3}
}

// free reports whether no process listens on the ports.
func (p ports) free() bool {
	for _, port := range []int{p.HTTP, p.RPC, p.Serf, p.ClientHTTP} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil || l.Close() != nil {
			return false
		}
	}
	return true
}

// network is the configuration of the agent's network: names, addresses and ports that no other
// agent on the machine uses.
type network struct {
	Bridge string
	Subnet netip.Prefix
	Ports  ports
}

type configuration struct {
	Options
	Network network
}

func (c configuration) PluginDir() string { return filepath.Join(c.Dir, "plugins") }
func (c configuration) TempDir() string   { return filepath.Join(c.Dir, "tmp") }
func (c configuration) DataDir() string   { return filepath.Join(c.Dir, "nomad") }
func (c configuration) AllocDir() string  { return filepath.Join(c.DataDir(), client, "alloc") }

// DriverDataDir and RunDir are the driver's directories, separate from the directories of an
// installed driver.
func (c configuration) DriverDataDir() string { return filepath.Join(c.Dir, "driver", "data") }
func (c configuration) RunDir() string {
	if c.DriverRunDir != "" {
		return c.DriverRunDir
	}
	return filepath.Join(c.Dir, "driver", "run")
}

// commonConfig is the configuration that both agents share; it is incomplete on its own.
const commonConfig = `
data_dir             = "{{.DataDir}}/{{.Role}}"
bind_addr            = "127.0.0.1"
disable_update_check = true
log_level            = "{{or .LogLevel "DEBUG"}}"
# Tests that share an agent have many connections from one address.
limits {
  http_max_conns_per_client = 0
  rpc_max_conns_per_client  = 0
}
# Nomad will not advertise loopback unless told to.
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
{{- if .ACL}}
acl {
  enabled = true
}
{{- end}}
`

const serverConfig = commonConfig + `
name = "server"
ports {
  http = {{.Network.Ports.HTTP}}
  rpc  = {{.Network.Ports.RPC}}
  serf = {{.Network.Ports.Serf}}
}
server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
}
`

const clientConfig = commonConfig + `
name       = "client"
plugin_dir = {{quote .PluginDir}}
ports {
  http = {{.Network.Ports.ClientHTTP}}
}
client {
  enabled               = true
  servers               = ["127.0.0.1:{{.Network.Ports.RPC}}"]
  network_interface     = "lo"
  cni_path              = "/usr/lib/cni:/opt/cni/bin"
  bridge_network_name   = {{quote .Network.Bridge}}
  bridge_network_subnet = "{{.Network.Subnet}}"
  gc_max_allocs         = 1000 # a test looks at what is left of those that have ended
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "pod,raw_exec,exec{{if .Docker}},docker{{end}}"
  }
}
# Without it Nomad collects no statistics of tasks.
telemetry {
  publish_allocation_metrics = true
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
{{- if .Docker}}
plugin "docker" {
  config {
    endpoint = {{quote .Docker}}
  }
}
{{- end}}
{{- if .Plugin}}
plugin "nomad-driver-pod" {
  config {
    data_dir = {{quote .DriverDataDir}}
    run_dir  = {{quote .RunDir}}
    # Stop waits for the end of all pods.
    pod_linger = "1s"

    debug_containers = true

    # Tests run root without an image, and make images anywhere.
    denied_host_uids = ""
    image {
      paths = ["/"]
      {{.ImageConfig}}
    }
    {{- if .Runtime}}
    runtime  = {{quote .Runtime}}
    {{- end}}
    {{- if .HostPaths}}
    host_paths = [{{range .AllHostPaths}}
      {{quote .}},{{end}}
    ]
    {{- end}}
    {{.PluginConfig}}
  }
}
{{- end}}
`

// AllHostPaths returns the default host paths that exist here, and the additions.
func (c configuration) AllHostPaths() []string {
	var paths []string
	for _, path := range defaultHostPaths() {
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return append(paths, c.HostPaths...)
}

// write creates the directories and the configuration files of both agents.
func (c configuration) write() error {
	for _, dir := range []string{c.PluginDir(), c.DataDir(), c.TempDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Nomad loads every file of the directory, and names a plugin after its file.
	if c.Plugin != "" {
		if err := copyProgram(c.Plugin, filepath.Join(c.PluginDir(), driverPlugin)); err != nil {
			return err
		}
	}
	for _, path := range c.MorePlugins {
		if err := copyProgram(path, filepath.Join(c.PluginDir(), filepath.Base(path))); err != nil {
			return err
		}
	}
	return errors.Join(c.render(server, serverConfig), c.render(client, clientConfig),
		os.WriteFile(c.addedConfigFile(), []byte(c.ClientConfig), 0o600))
}

func (c configuration) render(role, text string) error {
	quote := template.FuncMap{"quote": strconv.Quote}
	parsed, err := template.New(role).Funcs(quote).Parse(text)
	if err != nil {
		return fmt.Errorf("%s configuration: %w", role, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, struct {
		configuration
		Role string
	}{c, role}); err != nil {
		return fmt.Errorf("%s configuration: %w", role, err)
	}
	return os.WriteFile(c.configFile(role), out.Bytes(), 0o600)
}

func (c configuration) configFile(role string) string { return filepath.Join(c.Dir, role+".hcl") }

// addedConfigFile is read after the client's own file; Nomad merges the two.
func (c configuration) addedConfigFile() string { return filepath.Join(c.Dir, "client-added.hcl") }

func (c configuration) logFile(role string) string {
	dir := c.LogDir
	if dir == "" {
		dir = c.Dir
	}
	return filepath.Join(dir, role+".log")
}

// copyProgram copies instead of linking, so that Nomad runs exactly the file in its plugin
// directory and a rebuild does not affect it.
func copyProgram(from, to string) error {
	program, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("driver plugin: %w (make build makes it)", err)
	}
	return os.WriteFile(to, program, 0o755)
}

// reserveNetwork finds a subnet that no interface has and ports that no process listens on, and
// creates the bridge of the agent's network. The bridge's name reserves both: two agents that
// start at the same time get different ones.
func reserveNetwork() (network, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return network{}, fmt.Errorf("read addresses: %w", err)
	}
	var problem error
	for n := range 200 {
		candidate := network{
			Bridge: fmt.Sprintf("podtest%d", n),
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(n), 0}), 24),
			Ports:  portsFrom(firstPort + 4*n),
		}
		if overlaps(candidate.Subnet, addresses) || !candidate.Ports.free() {
			continue
		}
		// It fails if another agent has the bridge. That agent may have removed it since.
		if problem = run("ip", "link", "add", candidate.Bridge, "type", "bridge"); problem == nil {
			return candidate, nil
		}
	}
	return network{}, errors.Join(errors.New("no free subnet in 10.213.0.0/16 for the agent's bridge"), problem)
}

func overlaps(subnet netip.Prefix, addresses []net.Addr) bool {
	for _, a := range addresses {
		taken, err := netip.ParsePrefix(a.String())
		if err == nil && taken.Overlaps(subnet) {
			return true
		}
	}
	return false
}
