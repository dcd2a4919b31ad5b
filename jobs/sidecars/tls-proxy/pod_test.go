package tlsproxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// pod is what Nomad would give to the task: its directories and an app.
type pod struct {
	t      *testing.T
	dir    string
	app    *httptest.Server
	port   int
	params map[string]cty.Value
	as     *syscall.Credential // nil: as the test's own user
}

func newPod(t *testing.T) *pod {
	t.Helper()
	for _, program := range []string{"nginx", "openssl"} {
		_, err := exec.LookPath(program)
		if _, sbin := os.Stat("/usr/sbin/" + program); err != nil && sbin != nil {
			t.Skipf("no %s on this machine: %v", program, err)
		}
	}
	// Not t.TempDir, whose parent only its owner may enter.
	dir, err := os.MkdirTemp("", "tls-proxy-test-")
	must.NoError(t, err)
	t.Cleanup(func() { must.NoError(t, os.RemoveAll(dir)) })
	must.NoError(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"alloc", "local", "secrets"} { // modes as Nomad gives them: client/allocdir
		must.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o777))
		must.NoError(t, os.Chmod(filepath.Join(dir, sub), 0o777))
	}
	p := &pod{t: t, dir: dir, port: freePort(t)}
	p.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, name := range []string{"X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Connection", "Upgrade"} {
			w.Header().Set("Saw-"+name, r.Header.Get(name))
		}
		fmt.Fprintf(w, "%s %s host=%s body=%d", r.Method, r.URL, r.Host, len(body))
	}))
	t.Cleanup(p.app.Close)
	p.params = map[string]cty.Value{
		"app_port":    cty.NumberIntVal(int64(p.app.Listener.Addr().(*net.TCPAddr).Port)),
		"listen_port": cty.NumberIntVal(int64(p.port)),
	}
	return p
}

// asNobody makes the proxy run as a user that owns nothing, with log pipes of
// another user, as under Nomad.
func (p *pod) asNobody() {
	p.t.Helper()
	if os.Geteuid() != 0 {
		p.t.Skip("only root may start a program as another user")
	}
	nobody, err := user.Lookup("nobody")
	must.NoError(p.t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	must.NoError(p.t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	must.NoError(p.t, err)
	p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// output is a log that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// proxy is the task's running process.
type proxy struct {
	*exec.Cmd
	stdout, stderr output
}

// start runs the task. It is killed at the end of the test if it still runs.
func (p *pod) start() *proxy {
	p.t.Helper()
	task := render(p.t, p.params, filepath.Join(p.dir, "local"))
	for destination, content := range task.files {
		if destination == "local/nginx.conf" { // tests stay on the loopback interface
			listen := fmt.Sprintf("listen %d ", p.port)
			must.StrContains(p.t, content, listen)
			content = strings.Replace(content, listen, fmt.Sprintf("listen 127.0.0.1:%d ", p.port), 1)
		}
		must.NoError(p.t, os.WriteFile(filepath.Join(p.dir, destination), []byte(content), 0o644))
	}
	x := &proxy{Cmd: exec.Command(task.command, task.args...)}
	x.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"NOMAD_TASK_DIR=" + filepath.Join(p.dir, "local"),
		"NOMAD_ALLOC_DIR=" + filepath.Join(p.dir, "alloc"),
		"NOMAD_SECRETS_DIR=" + filepath.Join(p.dir, "secrets"),
	}
	for name, value := range task.env {
		x.Env = append(x.Env, name+"="+value)
	}
	x.Dir, x.Stdout, x.Stderr = "/", &x.stdout, &x.stderr
	// A group of its own, so that the end of the test reaches the workers too.
	x.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.as}
	must.NoError(p.t, x.Start())
	p.t.Cleanup(func() {
		_ = syscall.Kill(-x.Process.Pid, syscall.SIGKILL)
		_ = x.Wait()
	})
	return x
}

// exit waits for the end and returns the exit code.
func (x *proxy) exit(t *testing.T) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- x.Wait() }()
	select {
	case err := <-done:
		if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		return x.ProcessState.ExitCode()
	case <-time.After(testtimeout.Scale(10 * time.Second)):
		_ = syscall.Kill(-x.Process.Pid, syscall.SIGKILL)
		<-done
		t.Fatalf("it did not end; it said:\n%s", x.stderr.String())
		return 0
	}
}

// eventually polls until attempt succeeds, for at most ten seconds.
func eventually(t *testing.T, x *proxy, attempt func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(testtimeout.Scale(10 * time.Second))
	for {
		err := attempt()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%v; the proxy said:\n%s", err, x.stderr.String())
		}
	}
}

// answers waits until the proxy accepts connections and returns the
// certificate it shows.
func (p *pod) answers(x *proxy) *x509.Certificate {
	p.t.Helper()
	var shown *x509.Certificate
	eventually(p.t, x, func() (err error) {
		shown, err = p.certificate()
		return err
	})
	return shown
}

func (p *pod) certificate() (*x509.Certificate, error) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // the test compares the certificate itself
	conn, err := dialer.DialContext(p.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// client trusts only the given certificate.
func (p *pod) client(trusted *x509.Certificate, http2 bool) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(trusted)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", p.port))
	}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: testtimeout.Scale(10 * time.Second)}
}

func (p *pod) url(name, path string) string {
	return fmt.Sprintf("https://%s:%d%s", name, p.port, path)
}

// issue writes a certificate for the name into alloc/tls.
func (p *pod) issue(name string) *x509.Certificate {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must.NoError(p.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must.NoError(p.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must.NoError(p.t, err)
	dir := filepath.Join(p.dir, "alloc", "tls")
	must.NoError(p.t, os.MkdirAll(dir, 0o755))
	for file, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		must.NoError(p.t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o644))
	}
	certificate, err := x509.ParseCertificate(der)
	must.NoError(p.t, err)
	return certificate
}
