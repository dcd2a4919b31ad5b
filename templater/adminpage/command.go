package adminpage

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// upgradeCommand returns the shell command that upgrades a job. Flags select the catalog
// and policy.
func upgradeCommand(flags []string, of fleet.Ref) string {
	words := append([]string{"nomad-sidecar", "upgrade"}, flags...)
	words = append(words, "-namespace", of.Namespace)
	if strings.HasPrefix(of.ID, "-") {
		words = append(words, "--")
	}
	words = append(words, of.ID)
	for i, w := range words {
		words[i] = quoted(w)
	}
	return strings.Join(words, " ")
}

// quoted returns one shell word. Job IDs are chosen by clients, so no character may act
// as a key press when the command is pasted into a terminal.
func quoted(word string) string {
	special := func(r rune) bool {
		return r > unicode.MaxASCII || (!unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_./:@%+=,-", r))
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	switch {
	case word != "" && strings.IndexFunc(word, special) < 0:
		return word
	case strings.IndexFunc(word, unprintable) < 0:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	var out strings.Builder
	out.WriteString("$'")
	for _, b := range []byte(word) {
		switch {
		case b == '\'' || b == '\\':
			out.WriteByte('\\')
			out.WriteByte(b)
		case b < ' ' || b > '~':
			fmt.Fprintf(&out, `\x%02x`, b)
		default:
			out.WriteByte(b)
		}
	}
	return out.String() + "'"
}

// pending is a job with outdated sidecars.
type pending struct {
	*fleet.Job
	Changes []string // "web: tls-proxy 1.0.0 → 1.2.0"
	Command string   // "" if it would do nothing
	Why     string   // why the upgrade would do nothing, or not everything
}

// pendingOf returns nil if no sidecar of the job is outdated, as in "status -outdated",
// or if the job is not running.
func pendingOf(flags []string, j *fleet.Job) *pending {
	out := &pending{Job: j}
	needing, needs := 0, ""
	for _, g := range j.Groups {
		for _, s := range g.Sidecars {
			if s.State != fleet.StateOutdated && s.State != fleet.StateChanged {
				continue
			}
			out.Changes = append(out.Changes, fmt.Sprintf("%s: %s %s → %s", g.Name, s.Name, s.Version, s.Newest))
			if s.Needs != "" {
				needing, needs = needing+1, s.Needs
			}
		}
	}
	if len(out.Changes) == 0 || !j.Active() {
		return nil
	}
	out.Command, out.Why = commandFor(flags, j)
	if out.Why == "" && needing > 0 {
		out.Why = "upgrades a part only: the rest needs its " + needs
		if needing == len(out.Changes) {
			out.Command, out.Why = "", "an upgrade needs its "+needs
		}
		if needs == fleet.NeedsSource {
			out.Why += ", so run its job file again"
		}
	}
	return out
}

// commandFor returns the command that upgrades a job, or the reason that there is none.
func commandFor(flags []string, j *fleet.Job) (command, why string) {
	if why := j.Refusal(false); why != "" {
		return "", why
	}
	mends := slices.ContainsFunc(j.Sidecars(), func(s *fleet.Sidecar) bool { return s.State != fleet.StateOK && s.Needs == "" }) ||
		slices.ContainsFunc(j.Proxies(), func(p *fleet.Proxy) bool { return p.State != fleet.StateOK })
	if !mends {
		return "", ""
	}
	return upgradeCommand(flags, j.Ref()), ""
}
