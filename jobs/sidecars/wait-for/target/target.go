// Package target checks once whether a TCP or HTTP server, a name or a file
// answers.
//
// It does not retry; the caller does.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options apply to all targets of a kind.
type Options struct {
	// Resolver looks up names; nil is the system's.
	Resolver *net.Resolver
	// Statuses are the HTTP statuses that count as an answer; none means any 2xx.
	// Redirects are not followed.
	Statuses []int
	// Roots are the trusted certificate authorities; nil is the system's.
	Roots *x509.CertPool
}

// Target is one address to check.
type Target struct {
	name string
	try  func(context.Context) error
}

// Forms lists the addresses that Parse accepts, for messages.
const Forms = "tcp://HOST:PORT, http://… or https://…, dns://NAME, file:///PATH"

// Parse parses an address of one of the Forms. It does not resolve names.
func Parse(address string, o Options) (Target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Target{}, fmt.Errorf("%q is not an address: use %s", address, Forms)
	}
	t := Target{name: u.Redacted()}
	switch {
	case u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && bare(u):
		t.try = func(ctx context.Context) error { return o.dial(ctx, u.Host) }
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		t.try = func(ctx context.Context) error { return o.get(ctx, u) }
	case u.Scheme == "dns" && u.Hostname() != "" && u.Port() == "" && bare(u):
		t.try = func(ctx context.Context) error { return o.resolve(ctx, u.Hostname()) }
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		t.try = func(context.Context) error { return exists(u.Path) }
	default:
		return Target{}, fmt.Errorf("%q is not an address that can be waited for: use %s", t.name, Forms)
	}
	return t, nil
}

// bare reports whether u consists of a host only.
func bare(u *url.URL) bool {
	return u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

// String returns the address without a password.
func (t Target) String() string { return t.name }

// Try returns nil if the target answers now, otherwise an *Error. Only ctx bounds
// its time.
func (t Target) Try(ctx context.Context) error {
	err := t.try(ctx)
	if err == nil {
		return nil
	}
	e := explain(err)
	if e.Reason == Failed && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e = &Error{TimedOut, context.Cause(ctx)}
	}
	return e
}

func (o Options) dialer() *net.Dialer { return &net.Dialer{Resolver: o.Resolver} }

func (o Options) dial(ctx context.Context, address string) error {
	conn, err := o.dialer().DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (o Options) resolve(ctx context.Context, name string) error {
	_, err := o.Resolver.LookupHost(ctx, name) // nil is the system's resolver
	return err
}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

func (o Options) get(ctx context.Context, u *url.URL) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "wait-for")
	client := http.Client{
		// No connection is reused, since the check is whether a new one can be made.
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: o.dialer().DialContext,
			DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: o.Roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	wanted := slices.Contains(o.Statuses, response.StatusCode) || len(o.Statuses) == 0 && response.StatusCode/100 == 2
	if !wanted {
		return &statusError{response.Status, o.Statuses}
	}
	return nil
}
