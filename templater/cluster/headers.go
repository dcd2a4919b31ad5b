package cluster

import (
	"crypto/tls"
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/nomad/api"
)

// headers is a transport that keeps the headers of the last response.
type headers struct {
	*http.Transport
	last atomic.Pointer[http.Header]
}

// openHeaders configures the transport as Nomad's client would.
func openHeaders(certificates *api.TLSConfig) (*headers, error) {
	h := &headers{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	h.MaxIdleConnsPerHost = runtime.GOMAXPROCS(0) + 1
	h.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	h.ForceAttemptHTTP2 = false
	return h, api.ConfigureTLS(&http.Client{Transport: h.Transport}, certificates)
}

func (h *headers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.Transport.RoundTrip(r)
	if err == nil {
		h.last.Store(&resp.Header)
	}
	return resp, err
}

// Header returns a header of the last response, "" if there is none. It is unknown, and so "",
// for a unix socket.
func (c *Cluster) Header(name string) string {
	if c.headers == nil {
		return ""
	}
	last := c.headers.last.Load()
	if last == nil {
		return ""
	}
	return last.Get(name)
}
