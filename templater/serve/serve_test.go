package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoenig/test/must"
)

const servedDefinition = `sidecar "note" {
  version = "1.0.0"
  summary = "A note."
  task "note" {
    driver = "raw_exec"
    config {
      command = "true"
    }
  }
}
`

const servedPolicy = `rule "notes" {
  inject "note" {}
}
`

const servedJob = `{"Job":{"ID":"web","TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"raw_exec"}]}]}}`

// serving is a nomad-sidecar serve process that logs JSON lines.
type serving struct {
	t       *testing.T
	cmd     *exec.Cmd
	lines   *bufio.Scanner
	address string
	admin   string
	stderr  bytes.Buffer // valid after end
	client  *http.Client
}

func startServing(t *testing.T, client *http.Client, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, client: client}
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "nomad-sidecar", append([]string{"serve", "-address", "127.0.0.1:0", "-admin-address", "127.0.0.1:0", "-reload-every", "0"}, args...)...)
	stdout, err := s.cmd.StdoutPipe()
	must.NoError(t, err)
	s.cmd.Stderr = io.MultiWriter(os.Stderr, &s.stderr)
	must.NoError(t, s.cmd.Start())
	s.lines = bufio.NewScanner(stdout)
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // usually it has already ended
	line := s.next("listening")
	s.address, s.admin = line["address"].(string), "http://"+line["admin"].(string)
	return s
}

// next returns the next log line, which must have this message.
func (s *serving) next(msg string) map[string]any {
	s.t.Helper()
	line := map[string]any{}
	must.NoError(s.t, json.Unmarshal([]byte(s.nextLine(msg)), &line))
	return line
}

// nextLine returns the text of that line.
func (s *serving) nextLine(msg string) string {
	s.t.Helper()
	must.True(s.t, s.lines.Scan())
	line := struct{ Msg string }{}
	must.NoError(s.t, json.Unmarshal(s.lines.Bytes(), &line))
	must.Eq(s.t, msg, line.Msg, must.Sprint(s.lines.Text()))
	return s.lines.Text()
}

func (s *serving) get(url string) (int, string) {
	s.t.Helper()
	resp, err := s.client.Get(url)
	must.NoError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must.NoError(s.t, err)
	return resp.StatusCode, string(raw)
}

// decision registers a job and returns the decision from the log.
func (s *serving) decision(scheme string) string {
	s.t.Helper()
	resp, err := s.client.Post(scheme+"://"+s.address+"/v1/jobs", "application/json", strings.NewReader(servedJob))
	must.NoError(s.t, err)
	must.NoError(s.t, resp.Body.Close())
	return s.next("job")["decision"].(string)
}

func (s *serving) end() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	must.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.next("shutting down")
	must.False(s.t, s.lines.Scan())
	must.NoError(s.t, s.cmd.Wait())
}

func fakeNomad(t *testing.T) *httptest.Server {
	t.Helper()
	n := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{}`) // a missing response fails the test
	}))
	t.Cleanup(n.Close)
	return n
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	must.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestReload_AllOrNothing(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "note.sidecar.hcl"), servedDefinition)
	rules := filepath.Join(dir, "notes.policy.hcl")
	writeFile(t, rules, servedPolicy)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-policy", dir, "-catalog", dir, "-nomad-addr", fakeNomad(t).URL)
	must.Eq(t, "injected", s.decision("http"))

	// A new definition and an invalid policy: neither is loaded.
	writeFile(t, filepath.Join(dir, "more.sidecar.hcl"), strings.ReplaceAll(servedDefinition, "note", "more"))
	writeFile(t, rules, `rule "notes" { inject "none" {} }`)
	must.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.next("reload failed; the previous configuration stays in use")
	must.Eq(t, "injected", s.decision("http"))
	code, text := s.get(s.admin + "/healthz")
	must.Eq(t, http.StatusOK, code)
	must.StrContains(t, text, "are from before ")
	_, text = s.get(s.admin + "/metrics")
	must.StrContains(t, text, "nomad_sidecar_last_reload_successful 0")

	writeFile(t, rules, "rule \"nobody\" {\n  match {\n    job = [\"other\"]\n  }\n  inject \"more\" {}\n}\n")
	must.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.next("reloaded")
	must.Eq(t, "passed", s.decision("http"))

	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": `nomad_sidecar_reloads_total{result="error"} 1`,
	} {
		code, text := s.get(s.admin + path)
		must.Eq(t, http.StatusOK, code)
		must.StrContains(t, text, want)
	}
	s.end()
}

// Changed files are reloaded without a signal, once per change.
func TestReload_FileChanged(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "note.sidecar.hcl"), servedDefinition)
	rules := filepath.Join(dir, "notes.policy.hcl")
	writeFile(t, rules, servedPolicy)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-policy", dir, "-catalog", dir, "-nomad-addr", fakeNomad(t).URL, "-reload-every", "100ms")
	must.Eq(t, "injected", s.decision("http"))
	writeFile(t, rules, `rule "notes" { inject "none" {} }`)
	s.next("reload failed; the previous configuration stays in use")
	must.Eq(t, "injected", s.decision("http"))
	writeFile(t, rules, "rule \"nobody\" {\n  match {\n    job = [\"other\"]\n  }\n  inject \"note\" {}\n}\n")
	s.next("reloaded")
	must.Eq(t, "passed", s.decision("http"))
	s.end()
}

// Errors of a policy are logged without the policy's source lines, which may be confidential.
func TestReload_LogsNoPolicySource(t *testing.T) {
	dir := t.TempDir()
	definition := strings.Replace(servedDefinition, "  task", "  parameter \"secret\" {\n    sensitive = true\n    default   = \"\"\n  }\n  task", 1)
	writeFile(t, filepath.Join(dir, "note.sidecar.hcl"), definition)
	rules := filepath.Join(dir, "notes.policy.hcl")
	writeFile(t, rules, servedPolicy)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-policy", dir, "-catalog", dir, "-nomad-addr", fakeNomad(t).URL)
	for _, line := range []string{`secert = "pl4nted"`, `secret = "pl4nted`, `secret = pl4nted("s3cret")`, `secret = "pl4nted" "s3cret"`} {
		writeFile(t, rules, "rule \"notes\" {\n  inject \"note\" {\n    "+line+"\n  }\n}\n")
		must.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
		text := s.nextLine("reload failed; the previous configuration stays in use")
		must.StrNotContains(t, text, "pl4nted")
	}
	s.end()
	said := s.stderr.String()
	must.StrContains(t, said, "notes.policy.hcl line 3")
	must.StrContains(t, said, "Unknown parameter")
	must.StrNotContains(t, strings.ReplaceAll(said, `no function "pl4nted"`, ""), "pl4nted")
	must.StrNotContains(t, said, "s3cret")
}

func TestReady_NomadDown(t *testing.T) {
	nomad := fakeNomad(t)
	s := startServing(t, &http.Client{Transport: &http.Transport{}}, "-nomad-addr", nomad.URL)
	nomad.Close()
	code, _ := s.get(s.admin + "/readyz")
	must.Eq(t, http.StatusServiceUnavailable, code)
	code, _ = s.get(s.admin + "/healthz")
	must.Eq(t, http.StatusOK, code)
	s.end()
}

// writeCertificate writes a server's certificate into a folder and returns the flags to use it.
func writeCertificate(t *testing.T, dir string, server *httptest.Server) []string {
	t.Helper()
	certificate := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	must.NoError(t, err)
	writeFile(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})))
	writeFile(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	return []string{"-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem")}
}

// Over TLS a client may use HTTP/2, including streams. A client that needs a WebSocket uses HTTP/1.1
// at the same address.
func TestServe_HTTP2(t *testing.T) {
	more := make(chan struct{})
	nomad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") == "websocket":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
			_ = conn.Close() // a missing response fails the test
		case r.URL.Path == "/v1/event/stream":
			_, _ = io.WriteString(w, "1\n")
			_ = http.NewResponseController(w).Flush()
			<-more
			_, _ = io.WriteString(w, "2\n")
		default:
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	defer nomad.Close()
	client, flags := overTLS(t)
	s := startServing(t, client, append(flags, "-nomad-addr", nomad.URL)...)
	must.Eq(t, "passed", s.decision("https"))

	resp, err := client.Get("https://" + s.address + "/v1/event/stream")
	must.NoError(t, err)
	must.Eq(t, "HTTP/2.0", resp.Proto)
	lines := bufio.NewReader(resp.Body)
	line, err := lines.ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "1\n", line)
	close(more)
	line, err = lines.ReadString('\n')
	must.NoError(t, err)
	must.Eq(t, "2\n", line)
	must.NoError(t, resp.Body.Close())

	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	conn, err := tls.Dial("tcp", s.address, config)
	must.NoError(t, err)
	_, err = io.WriteString(conn, "GET /v1/client/allocation/x/exec HTTP/1.1\r\nHost: nomad\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	must.NoError(t, err)
	text, err := io.ReadAll(conn)
	must.NoError(t, err)
	must.StrContains(t, string(text), "101 Switching Protocols")
	must.StrHasSuffix(t, "hello", string(text))
	must.NoError(t, conn.Close())
	s.end()
}

func TestServe_TLS(t *testing.T) {
	server := httptest.NewTLSServer(nil) // provides the certificate
	defer server.Close()
	dir := t.TempDir()
	flags := append(writeCertificate(t, dir, server), "-nomad-addr", fakeNomad(t).URL)
	client := server.Client()
	s := startServing(t, client, flags...)
	must.Eq(t, "passed", s.decision("https"))
	s.end()

	// With a client CA, a client without a certificate is rejected.
	s = startServing(t, client, append(flags, "-tls-client-ca", filepath.Join(dir, "cert.pem"))...)
	resp, err := client.Get("https://" + s.address + "/v1/jobs")
	if err == nil {
		must.NoError(t, resp.Body.Close())
	}
	must.ErrorContains(t, err, "certificate required")
	must.True(t, s.lines.Scan())
	must.StrContains(t, s.lines.Text(), "TLS handshake error")
	s.end()
}
