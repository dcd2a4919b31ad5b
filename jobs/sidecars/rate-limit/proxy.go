package main

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// newProxy forwards requests unchanged and adds the client's address.
func newProxy(o options, transport http.RoundTripper, c *counts, log *slog.Logger) http.Handler {
	app := &url.URL{Scheme: "http", Host: o.app}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(app)
			r.Out.Host = r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery // keep malformed queries for the application to judge
			forward(o, r)
		},
		ModifyResponse: func(r *http.Response) error {
			if headers, ok := r.Request.Context().Value(headersKey{}).(limitHeaders); ok {
				headers.set(r.Header)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the client disconnected
			}
			c.appErrors.Inc()
			log.Warn("the application does not answer", "app", o.app, "error", err)
			http.Error(w, "rate-limit: the application does not answer", http.StatusBadGateway)
		},
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		FlushInterval: -1, // stream events and chunks immediately
		Transport:     transport,
	}
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 100,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // the client's Accept-Encoding applies
	}
}

// forward sets the forwarding headers. Those from clients are replaced; those from
// trusted proxies are extended.
func forward(o options, r *httputil.ProxyRequest) {
	trusted := o.finder.FromProxy(r.In)
	if trusted {
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}
	r.SetXForwarded()
	r.Out.Header.Set("X-Real-IP", o.finder.Address(r.In).String())
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
		if values := r.In.Header[name]; trusted && len(values) > 0 {
			r.Out.Header[name] = values
		}
	}
}
