// Package client identifies the client of a request by its address, by
// X-Forwarded-For of trusted proxies, or by a header.
//
// It does not authenticate. A header that the application does not verify is
// chosen by the sender.
package client

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Finder identifies clients.
type Finder struct {
	// Header names the client if it is set; "" for none.
	Header string
	// Trusted are the proxies that may name clients in X-Forwarded-For.
	Trusted []netip.Prefix
}

// ParsePrefix parses an address or a network.
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

// Key returns the same value for all requests of a client. IPv6 clients are
// identified by their /64, the prefix that one customer is assigned (RFC 6177);
// otherwise a client could use a new address for each request.
func (f Finder) Key(r *http.Request) string {
	if f.Header != "" {
		if value := r.Header.Get(f.Header); value != "" {
			sum := sha256.Sum256([]byte(value)) // unbounded in length, and may be a secret
			return "header " + string(sum[:])
		}
	}
	address := f.Address(r)
	if address.Is6() {
		return netip.PrefixFrom(address.WithZone(""), 64).Masked().String()
	}
	return address.String()
}

// Address returns the client's address: the last hop that is not a trusted proxy.
// Entries added before an untrusted hop are ignored.
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

// FromProxy reports whether a request comes from a trusted proxy.
func (f Finder) FromProxy(r *http.Request) bool { return f.trusts(peer(r)) }

func (f Finder) trusts(address netip.Addr) bool {
	for _, prefix := range f.Trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// peer returns the sender's address. It is invalid only for requests that no
// server received.
func peer(r *http.Request) netip.Addr {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr().Unmap()
}
