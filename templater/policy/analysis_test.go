package policy

import (
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/analyze"
)

func TestAnalysis(t *testing.T) {
	p := parse(t, `analyze {
  memory = 512
  code "NS1030" {
    severity = "error"
  }
}
analyze {
  code "NS1023" {
    severity = "off"
  }
}
`)
	must.Eq(t, analyze.Settings{MemoryMB: 512, Severities: map[string]analyze.Severity{"NS1030": analyze.Error, "NS1023": analyze.Off}}, p.Analysis())
}

func TestAnalysis_Invalid(t *testing.T) {
	for src, want := range map[string]string{
		`code "NS1" { severity = "off" }`:      "Unknown code",
		`code "NS1030" { severity = "bad" }`:   "Invalid severity",
		`code "NS1030" { severity = 1 }`:       "Invalid severity",
		`code "NS1030" { severity = "" }`:      "Invalid severity",
		`code "NS1030" {}`:                     "Missing required argument",
		`code "NS1030" { level = "off" }`:      "Missing required argument",
		`code {}`:                              "Missing code for code",
		`memory = 0`:                           "Invalid memory limit",
		`memory = -5`:                          "Invalid memory limit",
		`memory = "x"`:                         "Unsuitable value type",
		`threshold = "info"`:                   "Unsupported argument",
		"memory = 1\n}\nanalyze {\nmemory = 2": "Duplicate memory limit",
		"code \"NS1030\" {\n severity = \"off\"\n}\ncode \"NS1030\" {\n severity = \"info\"\n}": "Duplicate code",
	} {
		diags := (&Policy{}).Add([]byte("analyze {\n"+src+"\n}\n"), "p.hcl")
		must.True(t, diags.HasErrors(), must.Sprint(src))
		must.Eq(t, want, diags[0].Summary, must.Sprint(src))
		must.NotNil(t, diags[0].Subject, must.Sprint(src))
	}
}
