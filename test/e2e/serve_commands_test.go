package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

// TestServe checks that the nomad command works through the proxy as without it, except that each
// job has its sidecars. Traps I1, I9, I15 and I24 with a real Nomad. Each part continues with the
// state of the previous one.
func TestServe(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	var p *proxy
	t.Cleanup(func() { // runs after the proxy has exited
		if t.Failed() && p != nil {
			t.Log(p.audit.String())
		}
	})
	p = c.serve()
	for _, part := range []struct {
		command string
		test    func(*proxy)
	}{
		{"job run", (*proxy).testRun},
		{"job plan", (*proxy).testPlan},
		{"job validate", (*proxy).testDenials},
		{"status", (*proxy).testStatus},
		{"alloc logs -f", (*proxy).testFollow},
		{"alloc exec -i -t", (*proxy).testTerminal},
		{"job scale", (*proxy).testScale},
		{"blocking query", (*proxy).testBlockingQuery},
		{"event stream", (*proxy).testEventStream},
		{"monitor", (*proxy).testMonitor},
		{"job stop, job start", (*proxy).testStopAndStart},
		{"job revert", (*proxy).testRevert},
		{"job dispatch", (*proxy).testDispatch},
		{"job periodic force", (*proxy).testPeriodicForce},
		{"IDs with slashes", (*proxy).testSlashes},
		{"operator snapshot save", (*proxy).testSnapshotSave},
		{"ui", (*proxy).testUI},
		{"health and metrics", (*proxy).testMetrics},
	} {
		if !t.Run(part.command, func(t *testing.T) { part.test(p.forPart(t)) }) {
			t.FailNow()
		}
	}
}

// counter writes the job file that most parts use. Its deployment succeeds immediately.
func (p *proxy) counter() string {
	p.t.Helper()
	return p.file("counter.nomad.hcl", counterJob(p.t))
}

func counterJob(t *testing.T, replacements ...string) string {
	t.Helper()
	once := []string{`job "counter" {`, "job \"counter\" {\n  update {\n    min_healthy_time = \"0s\"\n  }\n"}
	return testdata(t, "counter.nomad.hcl", append(replacements, once...)...)
}

// testRun registers a job and follows its deployment to the end, as the command does.
func (p *proxy) testRun() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	events, err := p.client.EventStream().Stream(ctx, map[api.Topic][]string{api.TopicJob: {"counter"}}, 0, nil)
	must.NoError(p.t, err)
	must.StrContains(p.t, p.mustNomad("job", "run", p.counter()), "successful")
	must.MapContainsKeys(p.t, p.running("counter").TaskStates, []string{"counter", "beside"})
	first := <-events
	must.NoError(p.t, first.Err)
	must.Eq(p.t, "JobRegistered", first.Events[0].Type)
}

func (p *proxy) testPlan() { p.noDrift(p.counter()) }

// noDrift checks that a plan of the running job predicts no change.
func (p *proxy) noDrift(file string) {
	p.t.Helper()
	code, out := p.nomad("job", "plan", file)
	must.Zero(p.t, code, must.Sprint(out))
	must.StrContains(p.t, out, "Job: \"")
	for _, change := range []string{"+ ", "- ", "+/-"} {
		for _, line := range strings.Split(out, "\n") {
			must.False(p.t, strings.HasPrefix(line, change+"Job") || strings.HasPrefix(line, change+"Task"), must.Sprint(out))
		}
	}
}

// testDenials checks that the command prints denials like its own errors.
func (p *proxy) testDenials() {
	p.t.Helper()
	text := strings.Replace(testdata(p.t, "counter.nomad.hcl"), `job "counter" {`, "job \"counter\" {\n  type = \"system\"\n", 1)
	file := p.file("system.nomad.hcl", text)
	for _, verb := range []string{"validate", "run", "plan"} {
		code, out := p.nomad("job", verb, file)
		must.NotEq(p.t, 0, code, must.Sprint(verb))
		must.StrContains(p.t, strings.Join(strings.Fields(out), " "), `Rule "no-system-jobs": Job counter is a system job`, must.Sprint(verb))
	}
	p.mustNomad("job", "validate", p.file("good.nomad.hcl", testdata(p.t, "counter.nomad.hcl")))
}

// testStatus checks that the output equals the output without the proxy, except for the address
// and ages.
func (p *proxy) testStatus() {
	p.t.Helper()
	age := regexp.MustCompile(`\S+ ago *`)
	for _, args := range [][]string{{"status"}, {"status", "counter"}, {"job", "history", "counter"}} {
		p.eventually("same output with and without the proxy: "+strings.Join(args, " "), func() error { // states may change between the two
			code, direct := p.nomadAt(p.Address(), "", args...)
			direct = age.ReplaceAllString(direct, "")
			out := age.ReplaceAllString(strings.ReplaceAll(p.mustNomad(args...), p.address, p.Address()), "")
			if code != 0 || out != direct {
				return fmt.Errorf("directly: code %d, %q; through the proxy: %q", code, direct, out)
			}
			return nil
		})
	}
}

// runUntilPrinted runs the nomad command until it prints a line that contains text, and meanwhile
// calls a function repeatedly.
func (p *proxy) runUntilPrinted(text string, meanwhile func(), args ...string) {
	p.t.Helper()
	cmd := p.command(p.address, p.Token(), args...)
	out, err := cmd.StdoutPipe()
	must.NoError(p.t, err)
	must.NoError(p.t, cmd.Start())
	found := make(chan string, 1)
	var reader sync.WaitGroup
	reader.Go(func() { // ends with the command
		lines, sent := bufio.NewReader(out), false
		for {
			line, err := lines.ReadString('\n')
			if !sent && strings.Contains(line, text) {
				sent = true
				found <- line
			}
			if err != nil {
				return
			}
		}
	})
	defer func() {
		_ = cmd.Process.Kill() // it may have exited
		reader.Wait()
		_ = cmd.Wait() // the error is that it was killed
	}()
	p.eventually(strings.Join(args, " ")+" prints "+text, func() error {
		meanwhile()
		select {
		case <-found:
			return nil
		default:
			return fmt.Errorf("not yet")
		}
	})
}

// testFollow checks that a log is followed beyond its current end.
func (p *proxy) testFollow() {
	p.t.Helper()
	alloc := p.running("counter")
	now, err := p.Logs(p.ctx, alloc, "counter", "stdout")
	must.NoError(p.t, err)
	want := fmt.Sprint(strings.Count(now, "\n") + 50)
	p.runUntilPrinted(want, func() {}, "alloc", "logs", "-f", "-task", "counter", alloc.ID)
}

func (p *proxy) testTerminal() {
	execCommandLine(p.cluster, p.running("counter"), p.address)
}

// testScale scales a group to two and back to one. Each allocation has its sidecar.
func (p *proxy) testScale() {
	p.t.Helper()
	for _, count := range []int{2, 1} {
		p.eventually("the job is scaled", func() error { // fails while a deployment is running
			if code, out := p.nomad("job", "scale", "-detach", "counter", fmt.Sprint(count)); code != 0 {
				return errors.New(out)
			}
			return nil
		})
		p.eventually(fmt.Sprintf("%d running", count), func() error {
			tasks := p.taskRuns("counter")
			allocs := p.allocationsRunning("counter")
			if len(allocs) != count || tasks["counter/beside"].alloc == "" {
				return fmt.Errorf("%d allocations, tasks %v", len(allocs), tasks)
			}
			return nil
		})
		for _, a := range p.allocationsRunning("counter") {
			must.MapContainsKeys(p.t, a.TaskStates, []string{"counter", "beside"})
		}
	}
	p.noDrift(p.counter())
}

func (p *proxy) allocationsRunning(job string) (running []*api.AllocationListStub) {
	p.t.Helper()
	allocs, _, err := p.Client().Jobs().Allocations(job, false, nil)
	must.NoError(p.t, err)
	for _, a := range allocs {
		if a.ClientStatus == api.AllocClientStatusRunning && a.DesiredStatus == api.AllocDesiredStatusRun {
			running = append(running, a)
		}
	}
	return running
}

// testBlockingQuery sends a blocking query for an unchanged job, which takes its full wait, and
// then for a job that changes during the query.
func (p *proxy) testBlockingQuery() {
	p.t.Helper()
	ask := func(wait time.Duration, index uint64) (uint64, time.Duration, error) {
		began := time.Now()
		_, meta, err := p.client.Jobs().Info("blocking", (&api.QueryOptions{WaitIndex: index, WaitTime: wait}).WithContext(p.ctx))
		if err != nil {
			return 0, 0, err
		}
		return meta.LastIndex, time.Since(began), nil
	}
	file := func(n int) string {
		return p.file("blocking.nomad.hcl", fmt.Sprintf(idleJob, "blocking", n))
	}
	p.mustNomad("job", "run", "-detach", file(0))
	index, _, err := ask(0, 0)
	must.NoError(p.t, err)
	const short, long = 2 * time.Second, 10 * time.Minute
	p.eventually("the query takes its full wait", func() error { // the job's status may change in between
		now, took, err := ask(short, index)
		changed := now != index
		index = now
		if err == nil && (changed || took < short) {
			err = fmt.Errorf("took %s", took)
		}
		return err
	})
	news := make(chan error, 1)
	go func() { // ends with the query or the test's context
		now, took, err := ask(long, index)
		if err == nil && (now <= index || took >= long) {
			err = fmt.Errorf("index %d after %s, want more than %d", now, took, index)
		}
		news <- err
	}()
	p.mustNomad("job", "run", "-detach", file(1))
	must.NoError(p.t, <-news)
}

// idleJob is a job without allocations.
const idleJob = `job %q {
  meta {
    n = "%d"
  }
  group "idle" {
    count = 0
    task "app" {
      driver = "pod"
      config {
        command = "/bin/true"
      }
    }
  }
}
`

// testEventStream checks that events are delivered through the raw API as they happen.
func (p *proxy) testEventStream() {
	p.t.Helper()
	n := 0
	p.runUntilPrinted(`"JobRegistered"`, func() {
		n++
		p.mustNomad("job", "run", "-detach", p.file("event.nomad.hcl", fmt.Sprintf(idleJob, "event", n)))
	}, "operator", "api", "/v1/event/stream?topic=Job:event")
}

// testMonitor checks that the agent's log is streamed, which contains each request.
func (p *proxy) testMonitor() {
	p.t.Helper()
	p.runUntilPrinted("path=/v1/status/peers", func() { p.mustNomad("operator", "api", "/v1/status/peers") }, "monitor", "-log-level=DEBUG")
}

func (p *proxy) testStopAndStart() {
	p.t.Helper()
	p.mustNomad("job", "stop", "-detach", "counter")
	p.mustNomad("job", "start", "-detach", "counter")
	must.MapContainsKeys(p.t, p.running("counter").TaskStates, []string{"counter", "beside"})
	p.noDrift(p.counter())
}

// testRevert checks that a job can be reverted to a version that was registered through the proxy
// only.
func (p *proxy) testRevert() {
	p.t.Helper()
	slower := counterJob(p.t, "sleep 0.02", "sleep 0.2")
	p.mustNomad("job", "run", "-detach", p.file("slower.nomad.hcl", slower))
	p.mustNomad("job", "revert", "-detach", "counter", "0")
	must.MapContainsKeys(p.t, p.running("counter").TaskStates, []string{"counter", "beside"})
	p.noDrift(p.counter())

	round, err := p.RunJob(p.ctx, slower) // without the proxy
	must.NoError(p.t, err)
	p.mustNomad("job", "run", "-detach", p.counter())
	code, out := p.nomad("job", "revert", "-detach", "counter", fmt.Sprint(*round.Job.Version))
	must.Eq(p.t, 1, code)
	must.StrContains(p.t, out, `lacks sidecar "beside" in group "counter"`)
}

func (p *proxy) testDispatch() {
	p.t.Helper()
	p.mustNomad("job", "run", p.file("worker.nomad.hcl", testdata(p.t, "worker.nomad.hcl")))
	p.mustNomad("job", "dispatch", "-detach", "-meta", "word=hello", "worker")
	p.checkChild("worker/dispatch-")
}

// testPeriodicForce starts a periodic job that is due once a year.
func (p *proxy) testPeriodicForce() {
	p.t.Helper()
	file := p.file("yearly.nomad.hcl", testdata(p.t, "worker.nomad.hcl", `job "worker"`, `job "yearly"`,
		"parameterized {", "periodic {", `meta_required = ["word"]`, `crons = ["@yearly"]`))
	p.mustNomad("job", "run", file)
	p.mustNomad("job", "periodic", "force", "-detach", "yearly")
	p.checkChild("yearly/periodic-")
}

// checkChild waits until the only child of a periodic or dispatched job has ended, and checks
// that it had its sidecar.
func (p *proxy) checkChild(prefix string) {
	p.t.Helper()
	var child *api.AllocationListStub
	p.eventually("a job "+prefix+"… has run", func() error {
		jobs, _, err := p.Client().Jobs().PrefixList(prefix)
		if err != nil || len(jobs) != 1 {
			return fmt.Errorf("%d children: %w", len(jobs), err)
		}
		allocs, _, err := p.Client().Jobs().Allocations(jobs[0].ID, false, nil)
		if err != nil || len(allocs) != 1 || allocs[0].ClientStatus != api.AllocClientStatusComplete {
			return fmt.Errorf("%d allocations: %w", len(allocs), err)
		}
		child = allocs[0]
		return nil
	})
	must.MapContainsKeys(p.t, child.TaskStates, []string{"worker", "beside"})
}

// testSnapshotSave checks that a snapshot of the servers is complete, by its checksum.
func (p *proxy) testSnapshotSave() {
	p.t.Helper()
	snapshot := filepath.Join(p.dir, "backup.snap")
	p.mustNomad("operator", "snapshot", "save", snapshot)
	must.StrContains(p.t, p.mustNomad("operator", "snapshot", "inspect", snapshot), "JobVersion")
}

// testUI checks that the proxy serves Nomad's own pages.
func (p *proxy) testUI() {
	p.t.Helper()
	must.StrContains(p.t, p.mustNomad("ui", "-show-url", "counter"), p.address+"/ui/jobs/counter")
	for _, path := range []string{"/", "/ui/", "/ui/jobs/counter"} {
		direct, proxied := fetched(p.t, p.Address()+path), fetched(p.t, p.address+path)
		must.Eq(p.t, direct, proxied, must.Sprint(path))
		must.StrContains(p.t, proxied, "Nomad")
	}
}

// fetched returns the response after redirections, which must stay on the same host.
func fetched(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	must.NoError(t, err)
	defer resp.Body.Close()
	must.StrHasPrefix(t, resp.Request.URL.Host, strings.TrimPrefix(url, "http://"))
	body, err := io.ReadAll(resp.Body)
	must.NoError(t, err)
	return fmt.Sprintln(resp.StatusCode, resp.Request.URL.Path, string(body))
}

// testSlashes registers a job whose ID contains a slash, and one with the ID "plan".
func (p *proxy) testSlashes() {
	p.t.Helper()
	for _, id := range []string{"team/counter", "plan"} {
		text := strings.Replace(testdata(p.t, "counter.nomad.hcl"), `job "counter"`, fmt.Sprintf("job %q", id), 1)
		file := p.file("slash.nomad.hcl", text)
		p.mustNomad("job", "run", "-detach", file)
		must.MapContainsKeys(p.t, p.running(id).TaskStates, []string{"counter", "beside"})
		must.StrContains(p.t, p.mustNomad("job", "plan", file), id)
	}
}

func (p *proxy) testMetrics() {
	p.t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		must.StrHasPrefix(p.t, "200 ", fetched(p.t, p.admin+path))
	}
	resp, err := http.Get(p.admin + "/metrics")
	must.NoError(p.t, err)
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	must.NoError(p.t, err)
	for _, want := range []string{`nomad_sidecar_requests_total{decision="injected",route="register"}`, `nomad_sidecar_requests_total{decision="denied",route="revert"} 1`} {
		must.StrContains(p.t, text.String(), want)
	}
}
