package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/matrix"
)

// TestInjectedPod runs the injected example job: an application that speaks plain HTTP on loopback,
// with tls-proxy and topz.
func TestInjectedPod(t *testing.T) {
	onSharedAgent(t, matrix.Both(), func(c *cluster) {
		alloc := c.runInjected()
		tasks := []string{"app", "tls-proxy", "topz"}

		sub := func(name string, test func(c *cluster)) {
			c.t.Run(name, func(t *testing.T) {
				test(&cluster{c.Agent, t, c.ctx})
			})
		}
		sub("page over TLS", func(c *cluster) {
			page := c.fetch("https", port(c.t, alloc, "https"), "/")
			must.StrContains(c.t, strings.ToLower(page), "<html")
			// The same program answers on loopback, without TLS.
			must.StrContains(c.t, c.exec(alloc, "app", "cat", "/alloc/hello.txt"), "hello")
		})
		sub("topz shows the app", func(c *cluster) { checkTopz(c, alloc) })
		sub("namespaces", func(c *cluster) { checkSharedNamespaces(c, alloc, tasks) })
		sub("alloc directory", func(c *cluster) {
			for _, task := range []string{"app", "tls-proxy"} {
				must.Eq(c.t, "hello from webapp\n", c.exec(alloc, task, "cat", "/alloc/hello.txt"))
			}
		})
		sub("signal", func(c *cluster) {
			must.NoError(c.t, c.Client().Allocations().Signal(alloc, nil, "app", "SIGHUP"))
			c.waitLog(alloc, "app", "stdout", "reloaded\n")
		})
		sub("stats", func(c *cluster) { checkStats(c, alloc, tasks) })
		sub("restart of one task", func(c *cluster) { restartApp(c, alloc) })
		sub("stop", func(c *cluster) {
			_, _, err := c.Client().Jobs().Deregister("web", false, nil)
			must.NoError(c.t, err)
			c.waitAlloc(alloc.ID, api.AllocClientStatusComplete)
			c.waitLog(alloc, "app", "stdout", "stopped\n")
		})
	})
}

// port returns the host port of a label.
func port(t *testing.T, alloc *api.Allocation, label string) int {
	t.Helper()
	for _, p := range alloc.AllocatedResources.Shared.Ports {
		if p.Label == label {
			return p.Value
		}
	}
	t.Fatalf("no port %q in %+v", label, alloc.AllocatedResources.Shared.Ports)
	return 0
}

// fetch gets a page through a host port, and retries until a server listens.
func (c *cluster) fetch(scheme string, port int, path string) string {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// The certificate is self-signed. This test does not cover it.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	var page string
	c.eventually("the page is served", func() (err error) {
		page, err = get(c.ctx, client, fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, port, path))
		return err
	})
	return page
}

func get(ctx context.Context, client http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// checkTopz waits until topz lists the other tasks.
func checkTopz(c *cluster, alloc *api.Allocation) {
	c.eventually("topz shows the processes of every task", func() error {
		text := c.fetch("http", port(c.t, alloc, "topz"), "/api/processes")
		for _, command := range []string{podBin + "/webapp", podBin + "/topz", "nginx: "} {
			if !strings.Contains(text, command) {
				return fmt.Errorf("no %s in %s", command, text)
			}
		}
		return nil
	})
}

// checkSharedNamespaces compares the tasks' namespaces on the host.
func checkSharedNamespaces(c *cluster, alloc *api.Allocation, tasks []string) {
	for _, kind := range []string{"net", "ipc", "uts", "pid"} {
		links := map[string]bool{}
		for _, task := range tasks {
			links[c.namespace(c.first(alloc, task).PID, kind)] = true
		}
		must.MapLen(c.t, 1, links, must.Sprintf("%s: %v", kind, links))
		own := c.namespace(1, kind)
		must.False(c.t, links[own], must.Sprintf("%s is the host's", kind))
	}
	mounts := map[string]bool{}
	for _, task := range tasks {
		mounts[c.namespace(c.first(alloc, task).PID, "mnt")] = true
	}
	must.MapLen(c.t, len(tasks), mounts, must.Sprint("each task has its own mounts"))
}

func checkStats(c *cluster, alloc *api.Allocation, tasks []string) {
	c.eventually("every task has stats", func() error {
		stats, err := c.Client().Allocations().Stats(alloc, nil)
		if err != nil {
			return err
		}
		for _, task := range tasks {
			usage := stats.Tasks[task]
			if usage == nil || usage.ResourceUsage == nil {
				return fmt.Errorf("none of %s in %+v", task, stats.Tasks)
			}
			memory := usage.ResourceUsage.MemoryStats
			if memory == nil || memory.RSS == 0 && memory.Usage == 0 {
				return fmt.Errorf("no memory of %s: %+v", task, memory)
			}
		}
		return nil
	})
}

// restartApp restarts one task and checks that its pod and the other tasks continue.
func restartApp(c *cluster, alloc *api.Allocation) {
	before := c.identities(alloc, "app", "tls-proxy", "topz")
	netns := c.namespace(c.first(alloc, "app").PID, "net")
	must.NoError(c.t, c.Client().Allocations().Restart(alloc, "app", nil))
	c.waitTask(alloc.ID, "app", func(s *api.TaskState) error {
		if s.Restarts != 1 || s.State != "running" {
			return fmt.Errorf("state %s after %d restarts", s.State, s.Restarts)
		}
		return nil
	})
	after := c.identities(alloc, "app", "tls-proxy", "topz")
	must.NotEq(c.t, before["app"], after["app"])
	must.Eq(c.t, before["tls-proxy"], after["tls-proxy"])
	must.Eq(c.t, before["topz"], after["topz"])
	must.Eq(c.t, netns, c.namespace(c.first(alloc, "app").PID, "net"))
	c.fetch("https", port(c.t, alloc, "https"), "/")
}
