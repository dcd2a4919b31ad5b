package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
}

// serve starts the proxy, and afterwards ends it as an operator would.
func (c *cluster) serve() *front {
	c.t.Helper()
	f := &front{cluster: c, dir: c.t.TempDir(), audit: &bytes.Buffer{}}
	// Not by the test's context, which ends before the clean-up begins.
	cmd := exec.CommandContext(context.WithoutCancel(c.ctx), program(c.t, "nomad-sidecar"), "serve", "-policy", "testdata/serve", "-catalog", "testdata/serve",
		"-address", "127.0.0.1:0", "-admin-address", "127.0.0.1:0", "-nomad-addr", c.Address(), "-drain", "1s")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must.NoError(c.t, err)
	must.NoError(c.t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	read := make(chan struct{})
	c.t.Cleanup(func() {
		must.NoError(c.t, cmd.Process.Signal(syscall.SIGTERM))
		<-read
		must.NoError(c.t, cmd.Wait(), must.Sprint(stderr.String()))
	})
	var listening struct{ Address, Admin string }
	if lines.Scan() {
		err = json.Unmarshal(lines.Bytes(), &listening)
	}
	go func() { // ends with the process
		defer close(read)
		for lines.Scan() {
			f.audit.Write(append(lines.Bytes(), '\n'))
		}
	}()
	must.NoError(c.t, err)
	must.NotEq(c.t, "", listening.Address, must.Sprint(stderr.String()))
	f.address, f.admin = "http://"+listening.Address, "http://"+listening.Admin
	f.client, err = api.NewClient(&api.Config{Address: f.address})
	must.NoError(c.t, err)
	return f
}

// nomad runs the nomad command with the proxy for its API and gives the exit code.
func (f *front) nomad(args ...string) (code int, out string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.ctx, f.Nomad(), args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+f.address)
	raw, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		must.NoError(f.t, err)
	}
	return cmd.ProcessState.ExitCode(), string(raw)
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

// The nomad command speaks to the proxy, and everything works as before; but each job
// has its sidecars. Traps 1, 9, 15 and 24 with what they are about: a real Nomad.
func TestServe(t *testing.T) {
	c := start(t, "runc")
	f := c.serve()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.audit.String())
		}
	})
	for _, path := range []string{"/healthz", "/readyz"} {
		resp, err := http.Get(f.admin + path)
		must.NoError(t, err)
		must.NoError(t, resp.Body.Close())
		must.Eq(t, http.StatusOK, resp.StatusCode, must.Sprint(path))
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	events, err := f.client.EventStream().Stream(ctx, map[api.Topic][]string{api.TopicJob: {"counter"}}, 0, nil)
	must.NoError(t, err)

	file := f.file("counter.nomad.hcl", testdata(t, "counter.nomad.hcl"))
	f.does("job", "run", "-detach", file)
	alloc := f.running("counter")
	must.MapContainsKeys(t, alloc.TaskStates, []string{"counter", "beside"})
	first := <-events
	must.NoError(t, first.Err)
	must.Eq(t, "JobRegistered", first.Events[0].Type)

	f.noDrift(file)
	f.denials()
	f.follow(alloc)
	execCommandLine(c, alloc, f.address)
	f.versions(file)
	f.dispatches()
	f.slashes()
	f.measures()
}

// noDrift shows that planning what runs says that nothing changes.
func (f *front) noDrift(file string) {
	f.t.Helper()
	code, out := f.nomad("job", "plan", file)
	must.Zero(f.t, code, must.Sprint(out))
	must.StrContains(f.t, out, "Job: \"counter\"")
	for _, change := range []string{"+ ", "- ", "+/-"} {
		for _, line := range strings.Split(out, "\n") {
			must.False(f.t, strings.HasPrefix(line, change+"Job") || strings.HasPrefix(line, change+"Task"), must.Sprint(out))
		}
	}
}

// denials are told by the command as its own errors are.
func (f *front) denials() {
	f.t.Helper()
	text := strings.Replace(testdata(f.t, "counter.nomad.hcl"), `job "counter" {`, "job \"counter\" {\n  type = \"system\"\n", 1)
	file := f.file("system.nomad.hcl", text)
	for _, verb := range []string{"validate", "run", "plan"} {
		code, out := f.nomad("job", verb, file)
		must.NotEq(f.t, 0, code, must.Sprint(verb))
		must.StrContains(f.t, strings.Join(strings.Fields(out), " "), `Rule "no-system-jobs": Job counter is a system job`, must.Sprint(verb))
	}
	f.does("job", "validate", f.file("good.nomad.hcl", testdata(f.t, "counter.nomad.hcl")))
}

// follow reads a log past the end that it has now.
func (f *front) follow(alloc *api.Allocation) {
	f.t.Helper()
	now, err := f.Logs(f.ctx, alloc, "counter", "stdout")
	must.NoError(f.t, err)
	want := strings.Count(now, "\n") + 50
	cmd := exec.CommandContext(f.ctx, f.Nomad(), "alloc", "logs", "-f", "-task", "counter", alloc.ID)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+f.address)
	out, err := cmd.StdoutPipe()
	must.NoError(f.t, err)
	must.NoError(f.t, cmd.Start())
	lines, count := bufio.NewScanner(out), 0
	for count < want && lines.Scan() {
		count++
	}
	must.Eq(f.t, want, count)
	must.NoError(f.t, cmd.Process.Kill())
	_ = cmd.Wait() // it says that it was killed
}

// versions stops and starts a job, goes back to a version, and not to one that came
// round the proxy.
func (f *front) versions(file string) {
	f.t.Helper()
	f.does("job", "stop", "-detach", "counter")
	f.does("job", "start", "-detach", "counter")
	must.MapContainsKeys(f.t, f.running("counter").TaskStates, []string{"counter", "beside"})
	f.noDrift(file)

	slower := strings.Replace(testdata(f.t, "counter.nomad.hcl"), "sleep 0.02", "sleep 0.2", 1)
	f.does("job", "run", "-detach", f.file("slower.nomad.hcl", slower))
	f.does("job", "revert", "-detach", "counter", "0")
	must.MapContainsKeys(f.t, f.running("counter").TaskStates, []string{"counter", "beside"})

	round, err := f.RunJob(f.ctx, slower) // at the agent itself
	must.NoError(f.t, err)
	f.does("job", "run", "-detach", file)
	code, out := f.nomad("job", "revert", "-detach", "counter", fmt.Sprint(*round.Job.Version))
	must.Eq(f.t, 1, code)
	must.StrContains(f.t, out, `lacks sidecar "beside" in group "counter"`)
}

func (f *front) dispatches() {
	f.t.Helper()
	f.does("job", "run", f.file("worker.nomad.hcl", testdata(f.t, "worker.nomad.hcl")))
	f.does("job", "dispatch", "-detach", "-meta", "word=hello", "worker")
	var child *api.AllocationListStub
	f.eventually("the dispatched job has run", func() error {
		jobs, _, err := f.Client().Jobs().PrefixList("worker/dispatch-")
		if err != nil || len(jobs) != 1 {
			return fmt.Errorf("%d dispatched: %w", len(jobs), err)
		}
		allocs, _, err := f.Client().Jobs().Allocations(jobs[0].ID, false, nil)
		if err != nil || len(allocs) != 1 || allocs[0].ClientStatus != api.AllocClientStatusComplete {
			return fmt.Errorf("%d allocations: %w", len(allocs), err)
		}
		child = allocs[0]
		return nil
	})
	must.MapContainsKeys(f.t, child.TaskStates, []string{"worker", "beside"})
}

// slashes registers a job whose ID has one, and one that is called plan.
func (f *front) slashes() {
	f.t.Helper()
	for _, id := range []string{"team/counter", "plan"} {
		text := strings.Replace(testdata(f.t, "counter.nomad.hcl"), `job "counter"`, fmt.Sprintf("job %q", id), 1)
		file := f.file("slash.nomad.hcl", text)
		f.does("job", "run", "-detach", file)
		must.MapContainsKeys(f.t, f.running(id).TaskStates, []string{"counter", "beside"})
		must.StrContains(f.t, f.does("job", "plan", file), id)
	}
}

func (f *front) measures() {
	f.t.Helper()
	resp, err := http.Get(f.admin + "/metrics")
	must.NoError(f.t, err)
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	must.NoError(f.t, err)
	for _, want := range []string{`nomad_sidecar_requests_total{decision="injected",route="register"}`, `nomad_sidecar_requests_total{decision="denied",route="revert"} 1`} {
		must.StrContains(f.t, text.String(), want)
	}
}
