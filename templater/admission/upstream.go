package admission

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Upstream is the Nomad that requests go to.
type Upstream struct {
	URL       *url.URL // http or https, for a unix socket too
	Transport *http.Transport
}

// OpenUpstream reads an address, which is http://, https:// or unix://, and the
// certificates to reach it by. It does not connect yet.
func OpenUpstream(address string, certificates *api.TLSConfig) (*Upstream, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address of Nomad: %w", err)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	// No time limit for an answer: blocking queries and streams take theirs. No
	// compression of our own: what the client asked for is what it gets.
	t := &http.Transport{
		DialContext: dialer.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 64,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
	}
	switch u.Scheme {
	case "http":
	case "https":
		if err := api.ConfigureTLS(&http.Client{Transport: t}, certificates); err != nil {
			return nil, fmt.Errorf("certificates for Nomad: %w", err)
		}
	case "unix":
		socket := u.Path
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
		u = &url.URL{Scheme: "http", Host: "localhost"}
	default:
		return nil, fmt.Errorf("address of Nomad: %q is not http://, https:// or unix://", address)
	}
	if (u.Path != "" && u.Path != "/") || u.Host == "" {
		return nil, fmt.Errorf("address of Nomad: %q is not a scheme, a host and a port only", address)
	}
	u.Path = ""
	return &Upstream{URL: u, Transport: t}, nil
}

// Answers says whether Nomad can be reached and has a leader.
func (u *Upstream) Answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL.JoinPath("v1/status/leader").String(), nil)
	if err != nil {
		return fmt.Errorf("ask Nomad: %w", err)
	}
	resp, err := (&http.Client{Transport: u.Transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask Nomad: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Nomad: %s", resp.Status)
	}
	return nil
}
