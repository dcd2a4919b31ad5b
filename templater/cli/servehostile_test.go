package cli_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nomad-sidecar/nomad-sidecar/test/patience"
	"github.com/shoenig/test/must"
)

// Who sends a header by bits, or half of one, is cut off; others are served meanwhile.
func TestServeCutsOffAHeaderThatDoesNotEnd(t *testing.T) {
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", fakeNomad(t).URL)
	for _, address := range []string{s.address, s.admin[len("http://"):]} {
		conn, err := net.Dial("tcp", address)
		must.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: nomad\r\nX-Slow: ")
		must.NoError(t, err)
		must.Eq(t, "passed", s.decision("http"))
		must.NoError(t, conn.SetReadDeadline(time.Now().Add(patience.For(time.Minute))))
		_, err = io.ReadAll(conn) // ends when the connection does
		must.NoError(t, err)
	}
	s.end()
}

// Over TLS there is HTTP/1.1 alone, so that there are no streams to open and reset.
func TestServeOffersNoHTTP2(t *testing.T) {
	dir := t.TempDir()
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	flags := writeCertificate(t, dir, server)
	client := server.Client()
	s := startServing(t, client, append(flags, "-nomad-addr", fakeNomad(t).URL)...)
	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	conn, err := tls.Dial("tcp", s.address, config)
	must.NoError(t, err)
	must.Eq(t, "http/1.1", conn.ConnectionState().NegotiatedProtocol)
	must.NoError(t, conn.Close())
	s.end()
}
