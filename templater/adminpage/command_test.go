package adminpage

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

func TestTheCommandIsOneThatAShellTakes(t *testing.T) {
	must.Eq(t, "nomad-sidecar upgrade -policy policy -catalog 'my catalog' -namespace prod billing",
		upgradeCommand([]string{"-policy", "policy", "-catalog", "my catalog"}, fleet.Ref{Namespace: "prod", ID: "billing"}))
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to try it with")
	}
	for _, id := range []string{
		"web", "team/web", "it's", `a"b\c`, "$(touch x)", "`x`", "a b", "-state", "é", "", "\x1b[201~\nrm\r", "a\u202eb", "\xff'\\", "~", "#x", "a;b", hostile,
	} {
		command := upgradeCommand(nil, fleet.Ref{Namespace: "default", ID: id})
		for _, r := range command {
			must.False(t, r < ' ' || r == '\u202e', must.Sprintf("%q", command))
		}
		out, err := exec.CommandContext(t.Context(), bash, "-c", `nomad-sidecar() { printf '%s\0' "$@"; }; `+command).Output()
		must.NoError(t, err)
		words := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		must.Eq(t, id, words[len(words)-1], must.Sprint(command))
		must.Eq(t, strings.HasPrefix(id, "-"), words[len(words)-2] == "--")
	}
}

func TestWhatIsPending(t *testing.T) {
	want := map[string]struct {
		command bool
		why     string
	}{
		"cart":   {true, ""},
		"search": {false, "an upgrade needs its source, so run its job file again"},
		"ledger": {false, "terraform registers it, and undoes the change when it does so again without serve; pass -owned to upgrade it anyway"},
	}
	for _, j := range shop() {
		got := pendingOf(nil, j)
		expected, ok := want[j.ID]
		must.Eq(t, ok, got != nil, must.Sprint(j.ID))
		if ok {
			must.Eq(t, expected.command, got.Command != "", must.Sprint(j.ID))
			must.Eq(t, expected.why, got.Why, must.Sprint(j.ID))
		}
	}
	both := job("default", "both", have("tls-proxy", "1.0.0", "1.2.0", "policy", fleet.StateOutdated), have("topz", "1.0.0", "1.1.0", "block", fleet.StateChanged))
	both.Groups[0].Sidecars[1].Needs = fleet.NeedsSource
	got := pendingOf(nil, both)
	must.Eq(t, []string{"web: tls-proxy 1.0.0 → 1.2.0", "web: topz 1.0.0 → 1.1.0"}, got.Changes)
	must.Eq(t, "nomad-sidecar upgrade -namespace default both", got.Command)
	must.Eq(t, "upgrades a part only: the rest needs its source, so run its job file again", got.Why)
}
