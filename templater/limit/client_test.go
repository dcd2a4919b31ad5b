package limit

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestAt_AddressOrNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64",
	} {
		must.Eq(t, want, At(netip.MustParseAddr(addr)).String())
	}
	must.False(t, At(netip.Addr{}).IsValid())
}

func TestProxies_Client(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "2001:db8::1", "127.0.0.1", "::ffff:172.16.0.0/108"})
	must.NoError(t, err)
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:1", "198.51.100.1", "192.0.2.1/32"},                      // not a proxy
		{"10.0.0.1:1", "", "10.0.0.1/32"},                                    // a proxy's own request
		{"10.0.0.1:1", "198.51.100.1", "198.51.100.1/32"},                    // the address that the proxy saw
		{"10.0.0.1:1", "8.8.8.8, 198.51.100.1", "198.51.100.1/32"},           // the address that the client claims is ignored
		{"10.0.0.1:1", "8.8.8.8, 198.51.100.1, 10.2.3.4", "198.51.100.1/32"}, // two proxies
		{"10.0.0.1:1", "198.51.100.1:4711", "198.51.100.1/32"},
		{"10.0.0.1:1", "[2001:db8:7::1]:4711", "2001:db8:7::/64"},
		{"172.16.0.1:1", "198.51.100.1", "198.51.100.1/32"},
		{"[::ffff:172.16.0.1]:1", "198.51.100.1", "198.51.100.1/32"},
		{"10.0.0.1:1", "nonsense", "10.0.0.1/32"},
		{"10.0.0.1:1", "198.51.100.1, nonsense", "10.0.0.1/32"},
		{"[2001:db8::1]:1", "2001:db8:7::1", "2001:db8:7::/64"},
		{"10.0.0.1:1", strings.Repeat("10.0.0.9, ", 10_000) + "10.0.0.9", "10.0.0.9/32"},
		{"@", "198.51.100.1", "invalid Prefix"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		must.Eq(t, c.want, proxies.Client(r).String(), must.Sprintf("%+v", c))
		must.Eq(t, Proxies(nil).Client(r), Proxies{}.Client(r))
	}
	_, err = ParseProxies([]string{"balancer"})
	must.ErrorContains(t, err, `"balancer" is neither an IP address nor a network`)
	_, err = ParseProxies([]string{"::ffff:0.0.0.0/64"})
	must.ErrorContains(t, err, "write it as IPv4 networks and IPv6 networks")
}

func FuzzProxies_Client(f *testing.F) {
	f.Add("10.0.0.1:80", "198.51.100.1, 10.0.0.2")
	f.Add("[::1%lo]:80", ",,,")
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "::1"})
	must.NoError(f, err)
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		trusting, plain := proxies.Client(r), Proxies(nil).Client(r)
		at, err := netip.ParseAddrPort(remote)
		if err != nil || !proxies.Include(at.Addr()) {
			must.Eq(t, plain, trusting)
		}
	})
}
