// Package client tells whom a request is from: by the address it came from,
// or what trusted proxies say of it, or by a header.
//
// It authenticates nobody. A header that the application has not checked is
// what the sender chose to write.
package client

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Finder finds clients.
type Finder struct {
	// Header names the client where it is set; "" for none.
	Header string
	// Trusted are the proxies whose X-Forwarded-For is believed.
	Trusted []netip.Prefix
}

// ParsePrefix reads an address or a network.
func ParsePrefix(s string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, fmt.Errorf("%q is neither an address nor a network: write it like 10.0.0.1 or 10.0.0.0/8", s)
	}
	return prefix.Masked(), nil
}

// Key is the same for all requests of a client. An IPv6 client is its network
// of 64 bits: that is what one customer is given (RFC 6177), and it could else
// be another client with each request.
func (f Finder) Key(r *http.Request) string {
	if f.Header != "" {
		if value := r.Header.Get(f.Header); value != "" {
			sum := sha256.Sum256([]byte(value)) // of any length, and may be a secret
			return "header " + string(sum[:])
		}
	}
	address := f.Address(r)
	if address.Is6() {
		return netip.PrefixFrom(address.WithZone(""), 64).Masked().String()
	}
	return address.String()
}

// Address is the client's: the last one on the way here that is not a trusted
// proxy. Whatever an untrusted one says about those before it is not believed.
func (f Finder) Address(r *http.Request) netip.Addr {
	address := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && f.trusts(address); i-- {
		before, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = before.Unmap()
	}
	return address
}

// FromProxy tells whether a request comes from a trusted proxy.
func (f Finder) FromProxy(r *http.Request) bool { return f.trusts(peer(r)) }

func (f Finder) trusts(address netip.Addr) bool {
	for _, prefix := range f.Trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// peer is who sent the request; it is invalid only in requests that no server
// received.
func peer(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap()
}
