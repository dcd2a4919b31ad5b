package kube

import (
	"regexp"
	"strings"
)

// hostVariable matches names of variables that have a host.
var hostVariable = regexp.MustCompile(`(?i)host|addr|url|uri|server|endpoint|upstream|backend|peer|master|primary|broker|node`)

// isHost reports whether the text at an offset is a host: no letter or digit around it, and a port,
// a domain or a scheme beside it.
func isHost(text string, at, length int) bool {
	before, after := text[:at], text[at+length:]
	if before != "" && strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ._-", rune(before[len(before)-1])) {
		return false
	}
	switch {
	case len(after) > 1 && after[0] == ':' && after[1] >= '0' && after[1] <= '9':
		return true
	case domain.MatchString(after):
		return true
	case strings.HasSuffix(before, "//") || strings.HasSuffix(before, "@"):
		return after == "" || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ._-", rune(after[0]))
	}
	return false
}

// domain matches the rest of a Service's name in the DNS of a cluster.
var domain = regexp.MustCompile(`^\.[a-z0-9-]+\.svc\b`)
