package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/serve"
)

// The systemd unit starts a valid command line and allows serve the time it takes to end.
func TestServe_SystemdUnit(t *testing.T) {
	raw, err := os.ReadFile("../../jobs/serve/nomad-sidecar.service")
	must.NoError(t, err)
	unit := map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(string(raw), "\\\n", " ")) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(key, "#") {
			unit[key] = value
		}
	}
	words := strings.Fields(unit["ExecStart"])
	must.Eq(t, []string{"/usr/bin/nomad-sidecar", "serve"}, words[:2])
	o := &serveOptions{}
	must.NoError(t, o.parse(words[2:]))
	stop, err := time.ParseDuration(unit["TimeoutStopSec"] + "s")
	must.NoError(t, err)
	must.Greater(t, o.Drain+serve.FlushTimeout, stop)
}
