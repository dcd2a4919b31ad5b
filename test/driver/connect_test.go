package driver_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/nomad/client/taskenv"
	"github.com/hashicorp/nomad/helper/envoy"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
)

// proxyConfig is the config that Nomad's servers write into the task of a service mesh proxy, or of
// a gateway (nomad/job_endpoint_hook_connect.go).
func proxyConfig(image string, hostNetwork bool) map[string]any {
	config := map[string]any{
		"image": image,
		"args": []any{
			"-c", structs.EnvoyBootstrapPath,
			"-l", "${meta.connect.log_level}",
			"--concurrency", "${meta.connect.proxy_concurrency}",
			"--disable-hot-restart",
		},
	}
	if hostNetwork {
		config["network_mode"] = "host"
	}
	return config
}

// TestConnect_ProxyConfig reads the config of proxies from Nomad's source. It fails if a newer
// Nomad writes another key or argument, which TestStart_ConnectProxy must then start with.
func TestConnect_ProxyConfig(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs go: reads Nomad's source")
	}
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/nomad").Output()
	must.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "nomad/job_endpoint_hook_connect.go"), nil, 0)
	must.NoError(t, err)
	for name, host := range map[string]bool{"connectSidecarDriverConfig": false, "connectGatewayDriverConfig": true} {
		var want []string
		for key, value := range proxyConfig("", host) {
			want = append(want, key)
			if args, ok := value.([]any); ok {
				for _, a := range args {
					if a != structs.EnvoyBootstrapPath { // a constant in the source
						want = append(want, a.(string))
					}
				}
			}
		}
		if host {
			want = append(want, "host")
		}
		f, ok := file.Scope.Lookup(name).Decl.(*ast.FuncDecl)
		must.True(t, ok)
		var have []string
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				must.NoError(t, err)
				have = append(have, text)
			}
			return true
		})
		must.SliceContainsAll(t, want, have, must.Sprint(name))
	}
}

// TestStart_ConnectProxy starts the task of a proxy in a group with its own network, and of a
// gateway in the host's network. A substitute for Envoy prints its arguments and bootstrap file.
func TestStart_ConnectProxy(t *testing.T) {
	mirrorOfDockerHub(t, "envoyproxy/envoy:v1.35.3", shellImage(t, v1.Config{
		Entrypoint: []string{"/bin/sh", "-c", `echo "$*"; cat "$2"; echo up; sleep 1000`, "envoy"}, Cmd: []string{"of", "the", "image"},
	}))
	path := networkNamespace(t)
	withRuntimes(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime = runtime })
		for name, c := range map[string]struct {
			config  map[string]any
			network *drivers.NetworkIsolationSpec
		}{
			"connect-proxy-web":       {proxyConfig(envoy.SidecarConfigVar, false), &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: path}},
			"connect-ingress-gateway": {proxyConfig(envoy.GatewayConfigVar, true), nil},
		} {
			tk := n.newTask("", name, driver.TaskConfig{}, func(cfg *drivers.TaskConfig) { cfg.NetworkIsolation = c.network })
			n.encode(tk, c.config, onClient(t, tk.Env))
			bootstrap := filepath.Join(tk.TaskDir().SecretsDir, "envoy_bootstrap.json")
			must.NoError(t, os.WriteFile(bootstrap, []byte("{\"admin\": {}}\n"), 0o644))
			tk.start()
			out := tk.output("stdout", contains("up"))
			must.Eq(t, "-c /secrets/envoy_bootstrap.json -l info --concurrency 1 --disable-hot-restart\n{\"admin\": {}}\nup\n", out)
		}
	})
}

// onClient returns the task's variables on a client with Nomad's default meta for proxies.
func onClient(t *testing.T, env map[string]string) map[string]cty.Value {
	t.Helper()
	const image = "docker.io/envoyproxy/envoy:v1.35.3" // with the version set by Nomad's hook
	vars, _, err := taskenv.NewTaskEnv(env, env, nil, nil, map[string]string{
		"node.unique.id": "n", "meta." + envoy.SidecarMetaParam: image, "meta." + envoy.GatewayMetaParam: image,
		"meta." + envoy.DefaultConnectLogLevelParam:         envoy.DefaultConnectLogLevel,
		"meta." + envoy.DefaultConnectProxyConcurrencyParam: envoy.DefaultConnectProxyConcurrency,
	}, "", "").AllValues()
	must.NoError(t, err)
	return vars
}
