package tlsproxy

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
)

func ask(t *testing.T, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := c.Do(r)
	must.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must.NoError(t, err)
	return answer, string(body)
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	must.NoError(t, err)
	return r
}

func TestForwardsToTheApp(t *testing.T) {
	for _, user := range []string{"", "nobody"} {
		t.Run("as "+cmp.Or(user, "the test's user"), func(t *testing.T) {
			p := newPod(t)
			if user != "" {
				p.asNobody()
			}
			certificate := p.issue("web.example.com")
			x := p.start()
			must.Eq(t, certificate.Raw, p.answers(x).Raw)

			r := request(t, http.MethodPost, p.url("web.example.com", "/a?b=c"), bytes.NewReader(make([]byte, 3<<20)))
			r.Header.Set("X-Forwarded-For", "6.6.6.6")
			r.Header.Set("X-Real-IP", "6.6.6.6")
			answer, body := ask(t, p.client(certificate, true), r)
			must.Eq(t, "HTTP/2.0", answer.Proto)
			must.Eq(t, fmt.Sprintf("POST /a?b=c host=web.example.com:%d body=%d", p.port, 3<<20), body)
			must.Eq(t, "127.0.0.1", answer.Header.Get("Saw-X-Forwarded-For"), must.Sprint("a client's own claim is dropped"))
			must.Eq(t, "127.0.0.1", answer.Header.Get("Saw-X-Real-Ip"))
			must.Eq(t, "https", answer.Header.Get("Saw-X-Forwarded-Proto"))
			must.Eq(t, fmt.Sprintf("web.example.com:%d", p.port), answer.Header.Get("Saw-X-Forwarded-Host"))
			must.Eq(t, "", answer.Header.Get("Saw-Upgrade"))
			must.Eq(t, "nginx", answer.Header.Get("Server"), must.Sprint("no version"))

			r = request(t, http.MethodGet, p.url("web.example.com", "/socket"), nil)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			answer, _ = ask(t, p.client(certificate, false), r)
			must.Eq(t, "websocket", answer.Header.Get("Saw-Upgrade"))
			must.Eq(t, "upgrade", answer.Header.Get("Saw-Connection"))

			eventually(t, x, func() error {
				if !strings.Contains(x.stdout.String(), `"GET /socket HTTP/1.1" 200`) {
					return fmt.Errorf("no access log line in %q", x.stdout.String())
				}
				return nil
			})
			must.NoError(t, x.Process.Signal(syscall.SIGQUIT))
			must.Eq(t, 0, x.exit(t))
		})
	}
}

func TestHangupReloadsTheCertificate(t *testing.T) {
	p := newPod(t)
	first := p.issue("web.example.com")
	x := p.start()
	must.Eq(t, first.Raw, p.answers(x).Raw)

	second := p.issue("web.example.com")
	must.NoError(t, x.Process.Signal(syscall.SIGHUP))
	trusting := p.client(second, true)
	eventually(t, x, func() error { // the old worker may answer a little longer
		answer, err := trusting.Get(p.url("web.example.com", "/"))
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	must.StrNotContains(t, x.stderr.String(), "[emerg]")
}

func TestSelfSigned(t *testing.T) {
	p := newPod(t)
	p.asNobody()
	p.params["self_signed"] = cty.True
	p.params["server_name"] = cty.StringVal("web.example.com")
	x := p.start()
	certificate := p.answers(x)
	must.Eq(t, []string{"web.example.com", "localhost"}, certificate.DNSNames)
	must.StrContains(t, x.stderr.String(), "tls-proxy: made a self-signed certificate for web.example.com")
	for _, name := range []string{"web.example.com", "localhost", "127.0.0.1"} {
		_, body := ask(t, p.client(certificate, true), request(t, http.MethodGet, p.url(name, "/"), nil))
		must.StrContains(t, body, "GET /")
	}
	key, err := os.Stat(filepath.Join(p.dir, "secrets", "tls", "key.pem"))
	must.NoError(t, err)
	must.Eq(t, 0o600, key.Mode().Perm())
	secret, err := os.Stat(filepath.Join(p.dir, "secrets", "tls"))
	must.NoError(t, err)
	must.Eq(t, 0o700, secret.Mode().Perm())
	_, err = os.Stat(filepath.Join(p.dir, "alloc", "tls"))
	must.ErrorIs(t, err, os.ErrNotExist, must.Sprint("no key where every task can read it"))

	must.NoError(t, x.Process.Signal(syscall.SIGQUIT))
	must.Eq(t, 0, x.exit(t))
	must.Eq(t, certificate.Raw, p.answers(p.start()).Raw, must.Sprint("a restart keeps it"))
}

func TestSelfSignedPrefersTheGivenCertificate(t *testing.T) {
	p := newPod(t)
	p.params["self_signed"] = cty.True
	given := p.issue("web.example.com")
	must.Eq(t, given.Raw, p.answers(p.start()).Raw)
}

func TestMissingCertificateIsOneClearMessage(t *testing.T) {
	p := newPod(t)
	x := p.start()
	must.Eq(t, 1, x.exit(t))
	tlsDir := filepath.Join(p.dir, "alloc", "tls")
	must.Eq(t, "tls-proxy: no certificate: cannot read "+tlsDir+"/cert.pem "+tlsDir+"/key.pem; "+
		"have a prestart task write both as PEM, or set self_signed = true\n", x.stderr.String())

	p.issue("web.example.com")
	must.NoError(t, os.Remove(filepath.Join(tlsDir, "key.pem")))
	x = p.start()
	must.Eq(t, 1, x.exit(t))
	must.StrContains(t, x.stderr.String(), "cannot read "+tlsDir+"/key.pem;")
}

func TestBrokenCertificateIsNamed(t *testing.T) {
	p := newPod(t)
	p.issue("web.example.com")
	must.NoError(t, os.WriteFile(filepath.Join(p.dir, "alloc", "tls", "cert.pem"), []byte("not a certificate"), 0o644))
	x := p.start()
	must.Eq(t, 1, x.exit(t))
	must.StrContains(t, x.stderr.String(), "cert.pem")
}
