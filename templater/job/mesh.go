package job

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Mesh is the connect block of a service of a group, as far as it concerns the task that Nomad's
// servers add for it. sidecar_task configures that task.
type Mesh struct {
	// Kind is the first part of the task's kind, such as "connect-proxy".
	Kind string
	// Index is the position of the service in the group.
	Index int
	// Driver is "" if sidecar_task leaves it out.
	Driver Text
	// Config has the names in its config.
	Config     []string
	MoreConfig *diagnostic.Unknown // there may be others
	// HasTask reports that there is a sidecar_task.
	HasTask bool
	// Marked reports that injection had set the driver of the document that this job is from.
	Marked bool
	// Mark is the mark that the document had, if it is JSON.
	Mark *MeshMark
	// Bare is the spelling of empty containers of sidecar_task; see Group.Bare.
	Bare    Bare
	Unknown *diagnostic.Unknown // there may be a connect block, or other blocks in it
	// Opaque are the reasons why it cannot be edited in this form.
	Opaque []Obstacle
	Range  hcl.Range
}

// Gateway returns whether the task is a gateway.
func (m *Mesh) Gateway() bool { return m.Kind != "connect-proxy" }

// SetProxy sets the driver of the task that Nomad adds for the connect block of a service.
type SetProxy struct {
	Group string
	// Service is the service as the view of the job has it.
	Service *Service
	Driver  string
	// Config holds the settings that Nomad omits from the task if sidecar_task changes its driver.
	Config []ProxySetting
	// Task is the task, if the job has it already, as the one that a server stores does. Its config
	// is complete.
	Task string
	Mark *MeshMark
}

func (*SetProxy) edit() {}

// Defaults of the task of a proxy. Without a sidecar_task Nomad's servers use them
// (nomad/job_endpoint_hook_connect.go); with one, the defaults of other tasks replace them for all
// fields that it omits (api.SidecarTask.Canonicalize).
const (
	proxyCPU           = 250
	proxyMemoryMB      = 128
	proxyLogFiles      = 2
	proxyLogFileSizeMB = 2
	proxyShutdownDelay = 5 * time.Second
	proxyKillTimeout   = 5 * time.Second // of other tasks too
)

// Block returns the sidecar_task block to add if there is none.
func (e *SetProxy) Block() *sidecar.Block {
	body := sidecar.Body{
		&sidecar.Attr{Name: "driver", Value: cty.StringVal(e.Driver)},
		&sidecar.Attr{Name: "shutdown_delay", Value: cty.StringVal(proxyShutdownDelay.String())},
	}
	if config := e.ConfigBlock(); config != nil {
		body = append(body, config)
	}
	number := func(name string, n int64) *sidecar.Attr {
		return &sidecar.Attr{Name: name, Value: cty.NumberIntVal(n)}
	}
	return &sidecar.Block{Type: "sidecar_task", Body: append(body,
		&sidecar.Block{Type: "resources", Body: sidecar.Body{number("cpu", proxyCPU), number("memory", proxyMemoryMB)}},
		&sidecar.Block{Type: "logs", Body: sidecar.Body{number("max_files", proxyLogFiles), number("max_file_size", proxyLogFileSizeMB)}},
		e.MetaBlock())}
}

// ProxyTaskFields returns the numbers in the JSON of Block, by path. A server adds KillTimeout.
func ProxyTaskFields() map[string]int {
	return map[string]int{
		"Resources.CPU": proxyCPU, "Resources.MemoryMB": proxyMemoryMB,
		"LogConfig.MaxFiles": proxyLogFiles, "LogConfig.MaxFileSizeMB": proxyLogFileSizeMB,
		"ShutdownDelay": int(proxyShutdownDelay), "KillTimeout": int(proxyKillTimeout),
	}
}

// ConfigBlock returns the config block to add if there is none, nil if it would be empty.
func (e *SetProxy) ConfigBlock() *sidecar.Block {
	if len(e.Config) == 0 {
		return nil
	}
	b := &sidecar.Block{Type: "config"}
	for _, s := range e.Config {
		b.Body = append(b.Body, &sidecar.Attr{Name: s.Name, Value: s.Value})
	}
	return b
}

// MetaBlock returns the meta block to add if there is none.
func (e *SetProxy) MetaBlock() *sidecar.Block {
	return &sidecar.Block{Type: "meta", Body: sidecar.Body{&sidecar.Attr{Name: MarkProxy, Value: cty.StringVal(e.Mark.Text())}}}
}

// ProxySetting is a setting of the config of a proxy's task.
type ProxySetting struct {
	Name  string
	Value cty.Value
}

// ProxyConfig returns the config that Nomad's servers write into the task of a proxy or of a gateway; host
// means that the gateway's group is in the host's network. If sidecar_task has another driver, they
// replace all of it by the config of sidecar_task (nomad/job_endpoint_hook_connect.go,
// structs.SidecarTask.MergeIntoTask).
func ProxyConfig(gateway, host bool) []ProxySetting {
	image := "${meta.connect.sidecar_image}"
	if gateway {
		image = "${meta.connect.gateway_image}"
	}
	var args []cty.Value
	for _, a := range []string{
		"-c", "${NOMAD_SECRETS_DIR}/envoy_bootstrap.json", "-l", "${meta.connect.log_level}",
		"--concurrency", "${meta.connect.proxy_concurrency}", "--disable-hot-restart",
	} {
		args = append(args, cty.StringVal(a))
	}
	out := []ProxySetting{{"image", cty.StringVal(image)}, {"args", cty.ListVal(args)}}
	if host {
		out = append(out, ProxySetting{"network_mode", cty.StringVal("host")})
	}
	return out
}

// ProxyDriver is the driver that Nomad chooses for a proxy in a group without podman tasks.
const ProxyDriver = "docker"

// MarkProxy is the key of the meta of sidecar_task that records an injection. Nomad copies it to the
// proxy's task only, so that the app does not restart. It is an identifier because meta of
// sidecar_task is a block.
const MarkProxy = "sidecar_connect"

// MeshMark is the record of a SetProxy, from which eject restores sidecar_task.
type MeshMark struct {
	// Task means that injection added the sidecar_task itself.
	Task bool `json:"task,omitempty"`
	// Config are the added settings.
	Config []string `json:"config,omitempty"`
	// Bare is the spelling of the containers, as in Added. "Driver" is the spelling of an empty
	// driver, and "Proxy.Meta" is for the task that the job has already.
	Bare Bare `json:"bare,omitempty"`
}

// Text returns the mark as the value of MarkProxy.
func (m *MeshMark) Text() string {
	text, _ := json.Marshal(m) // strings and maps of them always marshal
	return string(text)
}

// ReadMeshMark returns nil if the text is no mark.
func ReadMeshMark(text string) *MeshMark {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	m := &MeshMark{}
	if dec.Decode(m) != nil {
		return nil
	}
	return m
}
