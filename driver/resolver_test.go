package driver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/pod"
)

func TestReachableDNS(t *testing.T) {
	bridge := pod.Network{NamespaceHostPath: "/run/netns/a"}
	const stub = "nameserver 127.0.0.53\noptions edns0\nsearch stub.example\n"
	const upstream = "nameserver 10.0.0.2\nnameserver fd00::2\nsearch up.example\n"
	cases := map[string]struct {
		network        pod.Network
		used, upstream string
		conf, want     *drivers.DNSConfig
		unreachable    []string
	}{
		"stub": {bridge, stub, upstream, nil, &drivers.DNSConfig{
			Servers: []string{"10.0.0.2", "fd00::2"}, Searches: []string{"up.example"}, Options: []string{"edns0"}}, nil},
		"stub, and searches of the group": {bridge, stub, upstream, &drivers.DNSConfig{Searches: []string{"own.example"}}, &drivers.DNSConfig{
			Servers: []string{"10.0.0.2", "fd00::2"}, Searches: []string{"own.example"}, Options: []string{"edns0"}}, nil},
		"servers of the group": {bridge, stub, "", &drivers.DNSConfig{Servers: []string{"10.1.1.1"}}, &drivers.DNSConfig{Servers: []string{"10.1.1.1"}}, nil},
		"no stub":              {bridge, "nameserver 10.0.0.9\n", upstream, nil, nil, nil},
		"another stub":         {bridge, "nameserver 127.0.0.1\nnameserver ::1\n", "", nil, nil, []string{"127.0.0.1", "::1"}},
		"a stub and a server":  {bridge, "nameserver 127.0.0.1\nnameserver 10.0.0.9\n", upstream, nil, nil, nil},
		"the host's network":   {pod.Network{}, stub, upstream, nil, nil, nil},
		"no network":           {pod.Network{None: true}, stub, "", nil, nil, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			host := resolvers{filepath.Join(t.TempDir(), "used"), filepath.Join(t.TempDir(), "upstream")}
			must.NoError(t, os.WriteFile(host.used, []byte(tc.used), 0o644))
			must.NoError(t, os.WriteFile(host.upstream, []byte(tc.upstream), 0o644))
			must.Eq(t, tc.want, reachableDNS(tc.network, tc.conf, host))
			must.Eq(t, tc.unreachable, unreachableDNS(tc.network, tc.conf, host))
		})
	}
}

func TestParseIDs(t *testing.T) {
	got, err := parseIDs("0, 100-199,4294967295")
	must.NoError(t, err)
	must.Eq(t, []idRange{{0, 0}, {100, 199}, {4294967295, 4294967295}}, got)
	must.True(t, within(150, got))
	must.False(t, within(99, got))
	for _, wrong := range []string{"x", "-", "5-1", "1-", "-1", "4294967296", "1,,2"} {
		_, err := parseIDs(wrong)
		must.Error(t, err, must.Sprint(wrong))
	}
}
