package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
	"golang.org/x/sys/unix"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// How a backend answers requests other than health checks.
const (
	answersOK = iota
	answers503
	hangsUp // after it has received the whole request
)

// backend is an instance of a service. It counts the requests that it received, without health
// checks.
type backend struct {
	*http.Server
	name      string
	at        netip.AddrPort
	behaviour atomic.Int32
	unhealthy atomic.Bool
	received  map[string]*atomic.Int64 // by method
}

// backend starts an instance that pods can reach at the host's address on their bridge.
func (c *cluster) backend(name, host string) *backend {
	c.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(c.ctx, "tcp", net.JoinHostPort(host, "0"))
	must.NoError(c.t, err)
	received := map[string]*atomic.Int64{http.MethodGet: {}, http.MethodPost: {}}
	b := &backend{name: name, received: received}
	b.at = listener.Addr().(*net.TCPAddr).AddrPort()
	b.Server = &http.Server{Handler: http.HandlerFunc(b.serve)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Serve(listener)
	}()
	c.t.Cleanup(func() {
		_ = b.Close()
		<-done
	})
	return b
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		if b.unhealthy.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return
	}
	b.received[r.Method].Add(1)
	switch b.behaviour.Load() {
	case answers503:
		w.WriteHeader(http.StatusServiceUnavailable)
	case hangsUp:
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, b.name)
}

// runAll runs a job and waits until all tasks of its allocation run.
func (c *cluster) runAll(hcl string) *api.Allocation {
	c.t.Helper()
	alloc, err := c.RunJob(c.ctx, hcl)
	must.NoError(c.t, err)
	ctx, cancel := context.WithTimeout(c.ctx, maxWait)
	defer cancel()
	alloc, err = c.WaitRunning(ctx, alloc.ID)
	must.NoError(c.t, err)
	return alloc
}

// gateway returns the host's address on the bridge of a pod.
func (c *cluster) gateway(alloc *api.Allocation) string {
	c.t.Helper()
	pod, err := netip.ParseAddr(alloc.NetworkStatus.Address)
	must.NoError(c.t, err)
	addresses, err := net.InterfaceAddrs()
	must.NoError(c.t, err)
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Contains(pod) {
			return prefix.Addr().String()
		}
	}
	c.t.Fatalf("no address of the host in the network of %s: %v", pod, addresses)
	return ""
}

// services registers a job whose services have the addresses of backends. Each service is
// "name address:port tag…". An update changes them without restarting the job's task.
func (c *cluster) services(list ...string) {
	c.t.Helper()
	var text strings.Builder
	for _, s := range list {
		fields := strings.Fields(s)
		host, port, err := net.SplitHostPort(fields[1])
		must.NoError(c.t, err)
		fmt.Fprintf(&text, "service {\nprovider = \"nomad\"\nname = %q\n", fields[0])
		fmt.Fprintf(&text, "address = %q\nport = %q\ntags = [", host, port)
		for _, tag := range fields[2:] {
			fmt.Fprintf(&text, "%q,", tag)
		}
		text.WriteString("]\n}\n")
	}
	job, err := c.Client().Jobs().ParseHCL(fmt.Sprintf(`job "services" {
  group "services" {
    %s
    task "idle" {
      driver = "pod"
      config {
        command = "/bin/sleep"
        args    = ["600"]
      }
      kill_signal = "SIGKILL"
      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}`, &text), true)
	must.NoError(c.t, err)
	_, _, err = c.Client().Jobs().Register(job, nil)
	must.NoError(c.t, err)
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dialIn returns a function that connects to an address inside of the network namespace of a task.
func (c *cluster) dialIn(alloc *api.Allocation, task string) dialer {
	path := fmt.Sprintf("/proc/%d/ns/net", c.first(alloc, task).PID)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			// The thread is never unlocked, so that it ends with the goroutine.
			runtime.LockOSThread()
			conn, err := dialThere(ctx, path, network, address)
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	}
}

func dialThere(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", namespace, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", namespace, err)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// inPod returns a client that connects inside of the network namespace of a task, without
// keep-alive.
func (c *cluster) inPod(alloc *api.Allocation, task string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: c.dialIn(alloc, task)},
		Timeout:   testtimeout.Scale(maxWait),
	}
}

// send sends a request and returns the status and the body.
func (c *cluster) send(client *http.Client, method, url string, headers ...string) (
	status int, body string, header http.Header,
) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.ctx, method, url, nil)
	must.NoError(c.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error(), http.Header{}
	}
	defer response.Body.Close()
	text := make([]byte, 1024)
	n, _ := response.Body.Read(text)
	return response.StatusCode, string(text[:n]), response.Header
}
