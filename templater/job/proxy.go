package job

import "strings"

// ProxyPortTo is the To of the ports that Nomad's servers add for proxies: the port inside
// the network namespace is the allocated one.
const ProxyPortTo = -1

// IsProxy reports whether a task kind names a Consul service mesh proxy or gateway. Nomad's
// servers append such a task to a group if the job does not include it. Nomad sets the kind
// connect-native on a user's task.
func IsProxy(kind string) bool {
	prefix, _, _ := strings.Cut(kind, ":")
	switch prefix {
	case "connect-proxy", "connect-ingress", "connect-terminating", "connect-mesh":
		return true
	}
	return false
}

// Add adds a task to the proxies or to the app tasks.
func (g *Group) Add(t *Task) {
	if t.Kind.Unknown == nil && IsProxy(t.Kind.Value) {
		g.Proxies = append(g.Proxies, t)
		return
	}
	g.Tasks = append(g.Tasks, t)
}
