package limit

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Client identifies a client: an IPv4 address, or the /64 network of an IPv6 address, since one
// host may use all addresses of it. The zero value is a client without an address.
type Client = netip.Prefix

const (
	bitsOfIPv6 = 64
	bitsOf4In6 = 96 // prefix of the IPv4 address in ::ffff:192.0.2.1
)

// At returns the client of an address.
func At(addr netip.Addr) Client {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = bitsOfIPv6
	}
	client, err := addr.Prefix(bits)
	if err != nil {
		return Client{} // zero Addr
	}
	return client
}

// Of returns the client at the remote end of a connection.
func Of(addr net.Addr) Client {
	if addr == nil {
		return Client{}
	}
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return Client{}
	}
	return At(at.Addr())
}

// Proxies lists networks of hosts that may name clients in X-Forwarded-For. The header is ignored
// in requests from other addresses.
type Proxies []netip.Prefix

// maxHops limits the number of addresses read from X-Forwarded-For.
const maxHops = 16

// ParseProxies parses addresses and networks.
func ParseProxies(texts []string) (Proxies, error) {
	var out Proxies
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/8", text)
		}
		if network.Addr().Is4In6() { // addresses are compared as IPv4
			if network.Bits() < bitsOf4In6 {
				return nil, fmt.Errorf("%q holds more than IPv4 addresses; write it as IPv4 networks and IPv6 networks", text)
			}
			network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-bitsOf4In6)
		}
		out = append(out, network.Masked())
	}
	return out, nil
}

// Include reports whether addr belongs to a proxy.
func (p Proxies) Include(addr netip.Addr) bool {
	for _, network := range p {
		if network.Contains(addr.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// Client returns the client that sent a request.
func (p Proxies) Client(r *http.Request) Client {
	addr, _ := p.Sender(r)
	return At(addr)
}

// Sender returns the client address of a request, the rightmost one that is not a proxy's, and
// whether a proxy named it.
func (p Proxies) Sender(r *http.Request) (addr netip.Addr, named bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = at.Addr()
	if len(p) == 0 || !p.Include(addr) {
		return addr, false
	}
	for _, hop := range hops(r.Header["X-Forwarded-For"]) {
		next, err := parseHop(hop)
		if err != nil {
			break
		}
		addr, named = next, true
		if !p.Include(addr) {
			break
		}
	}
	return addr, named
}

// parseHop parses an address, to which some load balancers append a port.
func parseHop(hop string) (netip.Addr, error) {
	if at, err := netip.ParseAddrPort(hop); err == nil {
		return at.Addr(), nil
	}
	return netip.ParseAddr(hop)
}

// hops returns the last addresses of X-Forwarded-For, nearest first.
func hops(values []string) []string {
	var out []string
	for i := len(values) - 1; i >= 0; i-- {
		rest := values[i]
		for more := true; more && len(out) < maxHops; {
			var hop string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, hop = rest[:at], rest[at+1:]
			} else {
				hop, more = rest, false
			}
			out = append(out, strings.TrimSpace(hop))
		}
	}
	return out
}
