package job

import (
	"testing"

	"github.com/hashicorp/nomad/helper/envoy"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
)

// The config is what Nomad's servers write, with their constants. TestConnect_ProxyConfig in
// test/driver compares the other arguments with Nomad's source.
func TestProxyConfig(t *testing.T) {
	for gateway, image := range map[bool]string{false: envoy.SidecarConfigVar, true: envoy.GatewayConfigVar} {
		config := ProxyConfig(gateway, false)
		must.Len(t, 2, config)
		must.Eq(t, "image", config[0].Name)
		must.Eq(t, image, config[0].Value.AsString())
		must.Eq(t, "args", config[1].Name)
		must.Eq(t, structs.EnvoyBootstrapPath, config[1].Value.Index(cty.NumberIntVal(1)).AsString())
	}
	inHost := ProxyConfig(true, true)
	must.Len(t, 3, inHost)
	must.Eq(t, "network_mode", inHost[2].Name)
	must.Eq(t, "host", inHost[2].Value.AsString())
}
