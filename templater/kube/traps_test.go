package kube_test

import (
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

// inPod returns a manifest of a pod with one container, and more of its spec.
func inPod(container, spec string) string {
	return pod + spec + "  containers:\n  - {name: c, image: 'i:1', " + container + "}\n"
}

// Faults that other converters of manifests had.
func TestImport_FaultsOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		findings int
		check    func(*testing.T, *api.TaskGroup)
	}{
		"podman#15983: $(NAME) in a command is not resolved": {inPod("command: [echo, $(A)], env: [{name: A, value: x}]", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, []any{"echo", "${A}"}, g.Tasks[0].Config["entrypoint"].([]any))
		}},
		"podman#5730: args replace the image's entrypoint": {inPod("args: [a]", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.MapNotContainsKey(t, g.Tasks[0].Config, "entrypoint")
			must.MapNotContainsKey(t, g.Tasks[0].Config, "command")
			must.Eq(t, []any{"a"}, g.Tasks[0].Config["args"].([]any))
		}},
		"podman#11891: a variable is cut at an equals sign": {inPod("env: [{name: A, value: 'k=v w=x'}]", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, "k=v w=x", g.Tasks[0].Env["A"])
		}},
		"kompose#907: one port for TCP and UDP": {inPod("ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.SliceLen(t, 1, g.Networks[0].DynamicPorts)
		}},
		"podman#12929: subPath is ignored": {inPod("volumeMounts: [{name: v, mountPath: /m, subPath: s/t}]", "  volumes: [{name: v, emptyDir: {}}]\n"), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, []any{"../alloc/data/s/t:/m"}, g.Tasks[0].Config["volumes"].([]any))
		}},
		"podman#16109: binaryData is ignored": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\nbinaryData: {k: AAH/}\n---\n" + inPod("volumeMounts: [{name: v, mountPath: /m}]", "  volumes: [{name: v, configMap: {name: m}}]\n"), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, `{{ "AAH/" | base64Decode }}`, *g.Tasks[0].Templates[0].EmbeddedTmpl)
		}},
		"podman#19313: defaultMode is ignored": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {k: v}\n---\n" + inPod("volumeMounts: [{name: v, mountPath: /m}]", "  volumes: [{name: v, configMap: {name: m, defaultMode: 0755}}]\n"), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, "0755", *g.Tasks[0].Templates[0].Perms) // 0755 of YAML is the number 493
		}},
		"podman#25157: a native sidecar is an init container": {inPod("args: [a]", "  initContainers: [{name: s, image: 'i:1', restartPolicy: Always, startupProbe: {tcpSocket: {port: 80}}}]\n"), 0, func(t *testing.T, g *api.TaskGroup) {
			must.True(t, g.Tasks[0].Lifecycle.Sidecar)
			must.MapContainsKey(t, g.Tasks[0].Config, "ready")
		}},
		"podman#8728: variables of the image are dropped": {inPod("env: [{name: A, value: b}]", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, map[string]string{"A": "b"}, g.Tasks[0].Env)
		}},
		"podman#19366: a probe that cannot be made is accepted": {inPod("livenessProbe: {exec: {command: [x]}, initialDelaySeconds: 300}", ""), 1, func(*testing.T, *api.TaskGroup) {}},
		"units: a milli-byte and a thousand bytes": {inPod("resources: {requests: {cpu: '0.5', memory: 128974848000m}, limits: {cpu: 500m, memory: 129M}}", ""), 0, func(t *testing.T, g *api.TaskGroup) {
			must.Eq(t, 500, *g.Tasks[0].Resources.CPU)
			must.Eq(t, 123, *g.Tasks[0].Resources.MemoryMB)
			must.Eq(t, true, g.Tasks[0].Config["cpu_hard_limit"].(bool))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			result, diags := kube.Import([]kube.Source{{Name: "m.yaml", Bytes: []byte(c.text)}}, kube.Options{})
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			must.SliceLen(t, c.findings, result.Findings, must.Sprint(result.Findings))
			c.check(t, parse(t, result.Jobs[0].Text).TaskGroups[0])
		})
	}
}
