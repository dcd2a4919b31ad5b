package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// proxy is a running nomad-sidecar serve for an agent.
type proxy struct {
	*cluster
	dir            string
	address, admin string
	client         *api.Client
	audit          *bytes.Buffer // complete when ended is closed
	process        *os.Process
	ended          chan struct{} // closed after all of audit is read
}

// serve starts the proxy with the policy and the definitions of testdata/serve.
func (c *cluster) serve() *proxy {
	c.t.Helper()
	return c.serveAt("127.0.0.1:0", "-policy", "testdata/serve", "-catalog", "testdata/serve")
}

// serveAt starts the proxy at an address, and stops it after the test with SIGTERM.
func (c *cluster) serveAt(address string, options ...string) *proxy {
	c.t.Helper()
	p := &proxy{cluster: c, dir: c.t.TempDir(), audit: &bytes.Buffer{}, ended: make(chan struct{})}
	args := append([]string{"serve", "-address", address, "-admin-address", "127.0.0.1:0", "-nomad-addr", c.Address(), "-drain", "1s"}, options...)
	// The test's context ends before the clean-up begins, and would kill it.
	cmd := exec.CommandContext(context.WithoutCancel(c.ctx), program(c.t, "nomad-sidecar"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must.NoError(c.t, err)
	must.NoError(c.t, cmd.Start())
	p.process = cmd.Process
	c.t.Cleanup(func() {
		select {
		case <-p.ended: // killed by the test
			_ = cmd.Wait()
			return
		default:
		}
		must.NoError(c.t, cmd.Process.Signal(syscall.SIGTERM))
		<-p.ended
		must.NoError(c.t, cmd.Wait(), must.Sprint(stderr.String()))
	})
	lines := bufio.NewScanner(stdout)
	var listening struct{ Address, Admin string }
	if lines.Scan() {
		err = json.Unmarshal(lines.Bytes(), &listening)
	}
	go func() { // ends with the process
		defer close(p.ended)
		for lines.Scan() {
			p.audit.Write(append(lines.Bytes(), '\n'))
		}
	}()
	must.NoError(c.t, err)
	must.NotEq(c.t, "", listening.Address, must.Sprint(stderr.String()))
	p.address, p.admin = "http://"+listening.Address, "http://"+listening.Admin
	p.client, err = api.NewClient(&api.Config{Address: p.address, SecretID: c.Token()})
	must.NoError(c.t, err)
	return p
}

// forPart returns the proxy for a part of its test.
func (p *proxy) forPart(t *testing.T) *proxy {
	part := *p
	part.cluster = &cluster{p.Agent, t, p.ctx}
	return &part
}

// command returns the nomad command with an address of the API and a token, or "" for none.
func (c *cluster) command(address, token string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.ctx, c.Nomad(), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+address, "NOMAD_TOKEN="+token)
	return cmd
}

// nomadAt runs the nomad command and returns its exit code and output.
func (c *cluster) nomadAt(address, token string, args ...string) (code int, out string) {
	c.t.Helper()
	cmd := c.command(address, token, args...)
	raw, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		must.NoError(c.t, err)
	}
	return cmd.ProcessState.ExitCode(), string(raw)
}

// nomad runs the nomad command against the proxy.
func (p *proxy) nomad(args ...string) (code int, out string) {
	p.t.Helper()
	return p.nomadAt(p.address, p.Token(), args...)
}

// mustNomad runs the nomad command against the proxy and requires it to succeed.
func (p *proxy) mustNomad(args ...string) string {
	p.t.Helper()
	code, out := p.nomad(args...)
	must.Zero(p.t, code, must.Sprintf("nomad %v: %s", args, out))
	return out
}

func (p *proxy) file(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	must.NoError(p.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// running waits until a job's newest version runs, and returns its allocation.
func (p *proxy) running(job string) *api.Allocation {
	p.t.Helper()
	var found *api.Allocation
	p.eventually("job "+job+" runs", func() error {
		now, _, err := p.Client().Jobs().Info(job, nil)
		if err != nil {
			return err
		}
		allocs, _, err := p.Client().Jobs().Allocations(job, false, nil)
		if err != nil {
			return err
		}
		for _, a := range allocs {
			if a.JobVersion == *now.Version && a.ClientStatus == api.AllocClientStatusRunning && a.DesiredStatus == api.AllocDesiredStatusRun {
				found, err = p.Alloc(a.ID)
				return err
			}
		}
		return fmt.Errorf("%d allocations, none running with version %d", len(allocs), *now.Version)
	})
	return found
}
