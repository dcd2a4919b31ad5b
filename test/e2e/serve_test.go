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

// front is nomad-sidecar serve before an agent.
type front struct {
	*cluster
	dir            string
	address, admin string
	client         *api.Client
	audit          *bytes.Buffer // complete once it has ended
	process        *os.Process
	ended          chan struct{} // closed after all of audit is read
}

// serve starts the proxy with the policy and the definitions of testdata/serve.
func (c *cluster) serve() *front {
	c.t.Helper()
	return c.serveAt("127.0.0.1:0", "-policy", "testdata/serve", "-catalog", "testdata/serve")
}

// serveAt starts the proxy at an address, and afterwards ends it as an operator would.
func (c *cluster) serveAt(address string, options ...string) *front {
	c.t.Helper()
	f := &front{cluster: c, dir: c.t.TempDir(), audit: &bytes.Buffer{}, ended: make(chan struct{})}
	args := append([]string{"serve", "-address", address, "-admin-address", "127.0.0.1:0", "-nomad-addr", c.Address(), "-drain", "1s"}, options...)
	// Not by the test's context, which ends before the clean-up begins.
	cmd := exec.CommandContext(context.WithoutCancel(c.ctx), program(c.t, "nomad-sidecar"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must.NoError(c.t, err)
	must.NoError(c.t, cmd.Start())
	f.process = cmd.Process
	c.t.Cleanup(func() {
		select {
		case <-f.ended: // killed by the test
			_ = cmd.Wait()
			return
		default:
		}
		must.NoError(c.t, cmd.Process.Signal(syscall.SIGTERM))
		<-f.ended
		must.NoError(c.t, cmd.Wait(), must.Sprint(stderr.String()))
	})
	lines := bufio.NewScanner(stdout)
	var listening struct{ Address, Admin string }
	if lines.Scan() {
		err = json.Unmarshal(lines.Bytes(), &listening)
	}
	go func() { // ends with the process
		defer close(f.ended)
		for lines.Scan() {
			f.audit.Write(append(lines.Bytes(), '\n'))
		}
	}()
	must.NoError(c.t, err)
	must.NotEq(c.t, "", listening.Address, must.Sprint(stderr.String()))
	f.address, f.admin = "http://"+listening.Address, "http://"+listening.Admin
	f.client, err = api.NewClient(&api.Config{Address: f.address, SecretID: c.Token()})
	must.NoError(c.t, err)
	return f
}

// at is the proxy in a part of its test.
func (f *front) at(t *testing.T) *front {
	part := *f
	part.cluster = &cluster{f.Agent, t, f.ctx}
	return &part
}

// command prepares the nomad command with an address of the API and a token, "" for
// none.
func (c *cluster) command(address, token string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.ctx, c.Nomad(), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+address, "NOMAD_TOKEN="+token)
	return cmd
}

// nomadAt runs the nomad command and gives its exit code and all that it prints.
func (c *cluster) nomadAt(address, token string, args ...string) (code int, out string) {
	c.t.Helper()
	cmd := c.command(address, token, args...)
	raw, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		must.NoError(c.t, err)
	}
	return cmd.ProcessState.ExitCode(), string(raw)
}

// nomad runs the nomad command with the proxy for its API.
func (f *front) nomad(args ...string) (code int, out string) {
	f.t.Helper()
	return f.nomadAt(f.address, f.Token(), args...)
}

// does runs the nomad command and wants it to succeed.
func (f *front) does(args ...string) string {
	f.t.Helper()
	code, out := f.nomad(args...)
	must.Zero(f.t, code, must.Sprintf("nomad %v: %s", args, out))
	return out
}

func (f *front) file(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	must.NoError(f.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// running waits until a job's newest version runs, and gives its allocation.
func (f *front) running(job string) *api.Allocation {
	f.t.Helper()
	var found *api.Allocation
	f.eventually("job "+job+" runs", func() error {
		now, _, err := f.Client().Jobs().Info(job, nil)
		if err != nil {
			return err
		}
		allocs, _, err := f.Client().Jobs().Allocations(job, false, nil)
		if err != nil {
			return err
		}
		for _, a := range allocs {
			if a.JobVersion == *now.Version && a.ClientStatus == api.AllocClientStatusRunning && a.DesiredStatus == api.AllocDesiredStatusRun {
				found, err = f.Alloc(a.ID)
				return err
			}
		}
		return fmt.Errorf("%d allocations, none of version %d runs", len(allocs), *now.Version)
	})
	return found
}
