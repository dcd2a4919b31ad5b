package admission

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

const (
	dialTimeout = 10 * time.Second
	// Idle connections count against Nomad's limit per client, which direct clients on the same
	// host share. The proxy therefore keeps few, and briefly.
	maxIdle     = 16
	idleTimeout = 10 * time.Second
)

// Upstream is the Nomad cluster that requests are forwarded to.
type Upstream struct {
	URL       *url.URL // http or https, also for a unix socket; the first of several
	Transport *http.Transport
	agents    *agents
}

// OpenUpstream parses an http://, https:// or unix:// address and loads the certificates for it.
// Several addresses, separated by commas, are agents of one cluster: if a connection to one fails,
// the next is used. OpenUpstream does not connect yet.
func OpenUpstream(addresses string, certificates *api.TLSConfig) (*Upstream, error) {
	u := &Upstream{agents: &agents{}}
	for address := range strings.SplitSeq(addresses, ",") {
		at, socket, err := parseAddress(strings.TrimSpace(address))
		switch {
		case err != nil:
			return nil, err
		case u.URL == nil:
			u.URL = at
		case u.URL.Scheme != at.Scheme:
			return nil, fmt.Errorf("address of Nomad: %q and %q must both be http:// or both https://", u.URL.Redacted(), at.Redacted())
		}
		u.agents.all = append(u.agents.all, agent{strings.TrimSpace(address), at, socket})
	}
	// No response timeout: blocking queries and streams are long-lived. No compression by the
	// proxy: the client gets the encoding it asked for.
	u.Transport = &http.Transport{
		DisableCompression: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if u.URL.Scheme == "https" {
		if err := api.ConfigureTLS(&http.Client{Transport: u.Transport}, certificates); err != nil {
			return nil, fmt.Errorf("certificates for Nomad: %w", err)
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	u.agents.dial = dialer.DialContext
	u.Transport.DialContext = u.agents.connect
	u.Transport.DialTLSContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return u.agents.connectTLS(ctx, u.Transport.TLSClientConfig)
	}
	return u, nil
}

// parseAddress parses one address; socket is "" unless the address is a unix socket.
func parseAddress(address string) (at *url.URL, socket string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", fmt.Errorf("address of Nomad: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
	case "unix":
		if u.Host != "" || u.Path == "" {
			return nil, "", fmt.Errorf("address of Nomad: %q has no absolute path; write unix:///PATH", address)
		}
		socket = u.Path
		u = &url.URL{Scheme: "http", Host: "localhost"}
	default:
		return nil, "", fmt.Errorf("address of Nomad: %q must start with http://, https:// or unix://", address)
	}
	if (u.Path != "" && u.Path != "/") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", fmt.Errorf("address of Nomad: %q must consist of a scheme, a host and an optional port", address)
	}
	u.Path = ""
	return u, socket, nil
}

// Names returns the addresses of all agents, without passwords.
func (u *Upstream) Names() []string {
	var out []string
	for _, a := range u.agents.all {
		name := a.url.Redacted()
		if a.socket != "" {
			name = "unix://" + a.socket
		}
		out = append(out, name)
	}
	return out
}

// Address returns the address of the last agent reached, as configured.
func (u *Upstream) Address() string { return u.agents.current().address }

// Answers returns an error if Nomad is unreachable or has no leader. An agent that refuses a
// connection because it has too many counts as reachable: it serves others.
func (u *Upstream) Answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL.JoinPath("v1/status/leader").String(), nil)
	if err != nil {
		return fmt.Errorf("query Nomad: %w", err)
	}
	resp, err := (&http.Client{Transport: u.Transport}).Do(req)
	if err != nil {
		return fmt.Errorf("query Nomad: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("query Nomad: %s", resp.Status)
	}
	return nil
}
