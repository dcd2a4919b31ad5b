package templater_test

import (
	"os"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// composed is a job with three sidecars of the catalog, each of which uses an output of the next.
const composed = `job "shop" {
  group "web" {
    network {
      mode = "bridge"
    }
    meta = {
      "sidecar.inject"                        = "tls-proxy, rate-limit, oauth2-proxy"
      "sidecar.tls-proxy.app_port"            = "${sidecar.rate-limit.port}"
      "sidecar.rate-limit.app_port"           = "${sidecar.oauth2-proxy.port}"
      "sidecar.rate-limit.rate"               = "10"
      "sidecar.oauth2-proxy.app_port"         = "8080"
      "sidecar.oauth2-proxy.public_url"       = "https://shop.example.com"
      "sidecar.oauth2-proxy.issuer_url"       = "https://login.example.com"
      "sidecar.oauth2-proxy.secrets_variable" = "nomad/jobs/shop"
      "sidecar.oauth2-proxy.email_domains"    = "[\"example.com\"]"
    }
    task "app" {
      driver = "pod"
      config {
        command = "/bin/app"
      }
    }
  }
}
`

// Three sidecars composed by outputs are the same job in both forms.
func TestOutputs_BothForms(t *testing.T) {
	c := &sidecar.Catalog{}
	diags := c.Load(os.DirFS("../jobs/sidecars"), "sidecars")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	f := parseHCL(t, []byte(composed))
	text := inject(t, f, c, templater.Flags{})
	must.StrContains(t, string(text), `"-app=127.0.0.1:4180"`)
	must.StrContains(t, string(text), `http://127.0.0.1:8088;`)
	raw, diags := f.JSON()
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	once := inject(t, parseJSON(t, raw, c), c, templater.Flags{})
	equal(t, nomad(t, text), decode(t, once))
	must.Eq(t, string(text), string(inject(t, parseHCL(t, text), c, templater.Flags{})))
	must.Eq(t, string(once), string(inject(t, parseJSON(t, once, c), c, templater.Flags{})))
}
