package client

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/shoenig/test/must"
)

func request(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	for _, value := range forwarded {
		r.Header.Add("X-Forwarded-For", value)
	}
	return r
}

func TestAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8")}
	cases := []struct {
		name      string
		peer      string
		forwarded []string
		want      string
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a client's own claim", "192.0.2.1:1234", []string{"6.6.6.6"}, "192.0.2.1"},
		{"a trusted proxy", "10.0.0.9:1234", []string{"192.0.2.1"}, "192.0.2.1"},
		{"a claim behind a trusted proxy", "10.0.0.9:1234", []string{"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
		{"a claim in a header of its own", "10.0.0.9:1234", []string{"6.6.6.6", "192.0.2.1"}, "192.0.2.1"},
		{"two trusted proxies", "127.0.0.1:1234", []string{"6.6.6.6, 192.0.2.1, 10.0.0.9"}, "192.0.2.1"},
		{"all of them trusted", "127.0.0.1:1234", []string{"10.0.0.1, 10.0.0.2"}, "10.0.0.1"},
		{"a proxy that says nothing", "10.0.0.9:1234", nil, "10.0.0.9"},
		{"nonsense", "10.0.0.9:1234", []string{"192.0.2.1, unknown"}, "10.0.0.9"},
		{"nonsense further on", "127.0.0.1:1234", []string{"unknown, 10.0.0.9"}, "10.0.0.9"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.9]:1234", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"IPv6", "[fd00::1]:1234", []string{"2001:db8::1"}, "2001:db8::1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			must.Eq(t, c.want, Finder{Trusted: trusted}.Address(request(c.peer, c.forwarded...)).String())
		})
	}
}

func TestKey(t *testing.T) {
	f := Finder{Header: "X-Api-Key"}
	keyed := func(peer, key string) string {
		r := request(peer)
		r.Header.Set("X-Api-Key", key)
		return f.Key(r)
	}
	must.Eq(t, keyed("192.0.2.1:1", "a"), keyed("192.0.2.2:1", "a"))
	must.NotEq(t, keyed("192.0.2.1:1", "a"), keyed("192.0.2.1:1", "b"))
	must.Eq(t, f.Key(request("192.0.2.1:1")), keyed("192.0.2.1:2", ""), must.Sprint("no key: the address"))
	must.NotEq(t, f.Key(request("192.0.2.1:1")), keyed("192.0.2.9:1", "192.0.2.1"), must.Sprint("a key is no address"))
	must.StrNotContains(t, keyed("192.0.2.1:1", "s3cret"), "s3cret")

	none := Finder{}
	must.Eq(t, none.Key(request("[2001:db8::1]:1")), none.Key(request("[2001:db8::2:3]:1")), must.Sprint("one network"))
	must.NotEq(t, none.Key(request("[2001:db8::1]:1")), none.Key(request("[2001:db8:0:1::1]:1")))
	must.NotEq(t, none.Key(request("192.0.2.1:1")), none.Key(request("192.0.2.2:1")))
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{"10.1.2.3": "10.1.2.3/32", "10.1.2.3/8": "10.0.0.0/8", "fd00::1": "fd00::1/128"} {
		got, err := ParsePrefix(in)
		must.NoError(t, err)
		must.Eq(t, want, got.String())
	}
	_, err := ParsePrefix("proxy")
	must.ErrorContains(t, err, `"proxy" is neither an address nor a network`)
}
