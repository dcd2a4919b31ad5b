package driver

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/cgroup"
)

// checked returns the driver's error for a config block in a group's network.
func checked(t *testing.T, hcl string, network *drivers.NetworkIsolationSpec) error {
	t.Helper()
	var config map[string]any
	hclutils.NewConfigParser(taskConfigSpec()).ParseHCL(t, "config {\n"+hcl+"\n}", &config)
	cfg := taskConfig(t, TaskConfig{})
	must.NoError(t, cfg.EncodeConcreteDriverConfig(&config))
	cfg.NetworkIsolation = network
	_, err := defaults(t).taskFrom(cfg, cgroup.V2)
	return err
}

func TestCompatKeys(t *testing.T) {
	bridge := &drivers.NetworkIsolationSpec{Mode: drivers.NetIsolationModeGroup, Path: "/run/netns/a"}
	cases := map[string]struct {
		hcl     string
		network *drivers.NetworkIsolationSpec
		want    string // "" if accepted
	}{
		"nomad job init":        {"image = \"redis:7\"\nauth_soft_fail = true", nil, ""},
		"interactive off":       {"interactive = false", nil, ""},
		"interactive":           {"interactive = true", nil, "interactive: only `false` is accepted here: use nomad alloc exec -i -t"},
		"host network":          {`network_mode = "host"`, nil, ""},
		"bridge network":        {`network_mode = "bridge"`, bridge, ""},
		"another network":       {`network_mode = "weave"`, bridge, "network_mode: only the mode of the group's network is accepted here: use the group's network block"},
		"bridge in the host's":  {`network_mode = "bridge"`, nil, "use the group's network block"},
		"no health checks":      {"healthchecks {\n disable = true\n}", nil, ""},
		"health checks":         {"healthchecks {\n disable = false\n}", nil, "use live { }, or a check of the service"},
		"cgroup namespace":      {`cgroupns = "private"`, nil, ""},
		"the host's cgroups":    {`cgroupns = "host"`, nil, "cgroupns"},
		"verified TLS":          {"image = \"a\"\nauth {\n username = \"u\"\n password = \"p\"\n tls_verify = true\n}", nil, ""},
		"unverified TLS":        {"image = \"a\"\nauth {\n username = \"u\"\n password = \"p\"\n tls_verify = false\n}", nil, "insecure = true"},
		"podman's directory":    {`working_dir = "/srv"`, nil, "use work_dir"},
		"podman's platform":     {`arch = "arm64"`, nil, "use platform"},
		"podman's addresses":    {`static_ips = ["10.0.0.9"]`, nil, "use the group's network block"},
		"logging":               {"logging {\n type = \"syslog\"\n config {\n tag = \"x\"\n }\n}", nil, "use the task's logs block"},
		"ports":                 {"port_map {\n http = 80\n}", nil, `use port "LABEL" { to = PORT }`},
		"storage":               {"storage_opt {\n size = \"40G\"\n}", nil, "storage_opt"},
		"name servers":          {`dns_servers = ["10.0.0.1"]`, nil, "use network { dns { servers } } of the group"},
		"empty values":          {"dns_servers = []\nruntime = \"\"\nmemory_hard_limit = 0", nil, ""},
		"registry of the image": {"image = \"a.example:5000/b\"\nauth {\n username = \"u\"\n password = \"p\"\n email = \"x\"\n server_address = \"https://a.example:5000/v2/\"\n}", nil, ""},
		"docker hub":            {"image = \"redis\"\nauth {\n username = \"u\"\n password = \"p\"\n server_address = \"https://index.docker.io/v1/\"\n}", nil, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			hcl := tc.hcl
			if !strings.Contains(hcl, "image") {
				hcl += "\ncommand = \"a\""
			}
			err := checked(t, hcl, tc.network)
			if tc.want == "" {
				must.NoError(t, err)
				return
			}
			must.ErrorContains(t, err, tc.want)
			must.ErrorIs(t, startError(fmt.Errorf("%w: %w", errTaskConfig, err)), errTaskConfig)
		})
	}
}

// TestSchema_CoversDocker reads the schema of Nomad's docker driver from its source. Each of its
// keys must be a key of this driver, or known with its replacement.
func TestSchema_CoversDocker(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/hashicorp/nomad").Output()
	must.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "drivers/docker/config.go"), nil, 0)
	must.NoError(t, err)
	specs := map[string]ast.Expr{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 {
			specs[v.Names[0].Name] = v.Values[0]
		}
		return true
	})
	ours := map[string]bool{}
	keys := taskKeys()
	for i, k := range keys {
		if strings.HasPrefix(k.name, "mount") {
			keys[i].keys = append(k.keys, volumeOptions())
		}
	}
	for _, k := range compatKeys() {
		keys = append(keys, k.key)
	}
	var list func(keys []key, in string)
	list = func(keys []key, in string) {
		for _, k := range keys {
			ours[in+k.name] = true
			list(k.keys, in+k.name+".")
		}
	}
	list(keys, "")
	theirs := dockerKeys(specs, specs["taskConfigSpec"], "")
	must.Greater(t, 60, len(theirs))
	for _, name := range theirs {
		must.True(t, ours[name], must.Sprintf("option %s of docker has no counterpart", name))
	}
}

// dockerKeys lists the keys of an object in the source of a schema, with the blocks they are in.
func dockerKeys(specs map[string]ast.Expr, e ast.Expr, in string) (names []string) {
	ast.Inspect(e, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && specs[id.Name] != nil && in != "" {
			names = append(names, dockerKeys(specs, specs[id.Name], in)...)
		}
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		literal, ok := pair.Key.(*ast.BasicLit)
		if !ok {
			return true
		}
		name, err := strconv.Unquote(literal.Value)
		if err != nil {
			return true
		}
		names = append(names, in+name)
		names = append(names, dockerKeys(specs, pair.Value, in+name+".")...)
		return false
	})
	return names
}
