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

// TestServe checks that the nomad command works through the proxy as without it, except that each job
// has its sidecars. Traps I1, I9, I15 and I24 with a real Nomad. Each part continues with the state of
// the previous one.
func TestServe(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	var f *front
	t.Cleanup(func() { // after the end of the proxy
		if t.Failed() && f != nil {
			t.Log(f.audit.String())
		}
	})
	f = c.serve()
	for _, part := range []struct {
		command string
		works   func(*front)
	}{
		{"job run", (*front).runs},
		{"job plan", (*front).plans},
		{"job validate", (*front).denials},
		{"status", (*front).status},
		{"alloc logs -f", (*front).follow},
		{"alloc exec -i -t", (*front).terminal},
		{"job scale", (*front).scales},
		{"blocking query", (*front).blocks},
		{"event stream", (*front).events},
		{"monitor", (*front).monitors},
		{"job stop, job start", (*front).stopsAndStarts},
		{"job revert", (*front).reverts},
		{"job dispatch", (*front).dispatches},
		{"job periodic force", (*front).forces},
		{"IDs with slashes", (*front).slashes},
		{"operator snapshot save", (*front).saves},
		{"ui", (*front).page},
		{"health and metrics", (*front).measures},
	} {
		if !t.Run(part.command, func(t *testing.T) { part.works(f.at(t)) }) {
			t.FailNow()
		}
	}
}

// counter is the file of the job that most parts are about. Its deployment succeeds at
// once.
func (f *front) counter() string {
	f.t.Helper()
	return f.file("counter.nomad.hcl", counterJob(f.t))
}

func counterJob(t *testing.T, replacements ...string) string {
	t.Helper()
	once := []string{`job "counter" {`, "job \"counter\" {\n  update {\n    min_healthy_time = \"0s\"\n  }\n"}
	return testdata(t, "counter.nomad.hcl", append(replacements, once...)...)
}

// runs registers a job and follows its deployment to the end, as the command does.
func (f *front) runs() {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	events, err := f.client.EventStream().Stream(ctx, map[api.Topic][]string{api.TopicJob: {"counter"}}, 0, nil)
	must.NoError(f.t, err)
	must.StrContains(f.t, f.does("job", "run", f.counter()), "successful")
	must.MapContainsKeys(f.t, f.running("counter").TaskStates, []string{"counter", "beside"})
	first := <-events
	must.NoError(f.t, first.Err)
	must.Eq(f.t, "JobRegistered", first.Events[0].Type)
}

func (f *front) plans() { f.noDrift(f.counter()) }

// noDrift checks that a plan of the running job predicts no change.
func (f *front) noDrift(file string) {
	f.t.Helper()
	code, out := f.nomad("job", "plan", file)
	must.Zero(f.t, code, must.Sprint(out))
	must.StrContains(f.t, out, "Job: \"")
	for _, change := range []string{"+ ", "- ", "+/-"} {
		for _, line := range strings.Split(out, "\n") {
			must.False(f.t, strings.HasPrefix(line, change+"Job") || strings.HasPrefix(line, change+"Task"), must.Sprint(out))
		}
	}
}

// denials checks that the command prints denials like its own errors.
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

// status checks that the output equals the output without the proxy, except for the address and ages.
func (f *front) status() {
	f.t.Helper()
	age := regexp.MustCompile(`\S+ ago *`)
	for _, args := range [][]string{{"status"}, {"status", "counter"}, {"job", "history", "counter"}} {
		f.eventually("both say the same of "+strings.Join(args, " "), func() error { // states may change
			code, direct := f.nomadAt(f.Address(), "", args...)
			direct = age.ReplaceAllString(direct, "")
			out := age.ReplaceAllString(strings.ReplaceAll(f.does(args...), f.address, f.Address()), "")
			if code != 0 || out != direct {
				return fmt.Errorf("%d %q directly, and %q", code, direct, out)
			}
			return nil
		})
	}
}

// prints runs the nomad command until a line that it prints has a text, and does
// something again and again meanwhile.
func (f *front) prints(text string, meanwhile func(), args ...string) {
	f.t.Helper()
	cmd := f.command(f.address, f.Token(), args...)
	out, err := cmd.StdoutPipe()
	must.NoError(f.t, err)
	must.NoError(f.t, cmd.Start())
	seen := make(chan string, 1)
	var reader sync.WaitGroup
	reader.Go(func() { // ends with the command
		lines, said := bufio.NewReader(out), false
		for {
			line, err := lines.ReadString('\n')
			if !said && strings.Contains(line, text) {
				said = true
				seen <- line
			}
			if err != nil {
				return
			}
		}
	})
	defer func() {
		_ = cmd.Process.Kill() // it may have ended
		reader.Wait()
		_ = cmd.Wait() // it says that it was killed
	}()
	f.eventually(strings.Join(args, " ")+" prints "+text, func() error {
		meanwhile()
		select {
		case <-seen:
			return nil
		default:
			return fmt.Errorf("not yet")
		}
	})
}

// follow reads a log past the end that it has now.
func (f *front) follow() {
	f.t.Helper()
	alloc := f.running("counter")
	now, err := f.Logs(f.ctx, alloc, "counter", "stdout")
	must.NoError(f.t, err)
	want := fmt.Sprint(strings.Count(now, "\n") + 50)
	f.prints(want, func() {}, "alloc", "logs", "-f", "-task", "counter", alloc.ID)
}

func (f *front) terminal() {
	execCommandLine(f.cluster, f.running("counter"), f.address)
}

// scales has two of a group, each with its sidecar, and one again.
func (f *front) scales() {
	f.t.Helper()
	for _, count := range []int{2, 1} {
		f.eventually("it is scaled", func() error { // not while a deployment goes on
			if code, out := f.nomad("job", "scale", "-detach", "counter", fmt.Sprint(count)); code != 0 {
				return errors.New(out)
			}
			return nil
		})
		f.eventually(fmt.Sprintf("%d run", count), func() error {
			tasks := f.tasksOf("counter")
			allocs := f.allocationsRunning("counter")
			if len(allocs) != count || tasks["counter/beside"].alloc == "" {
				return fmt.Errorf("%d allocations, tasks %v", len(allocs), tasks)
			}
			return nil
		})
		for _, a := range f.allocationsRunning("counter") {
			must.MapContainsKeys(f.t, a.TaskStates, []string{"counter", "beside"})
		}
	}
	f.noDrift(f.counter())
}

func (f *front) allocationsRunning(job string) (running []*api.AllocationListStub) {
	f.t.Helper()
	allocs, _, err := f.Client().Jobs().Allocations(job, false, nil)
	must.NoError(f.t, err)
	for _, a := range allocs {
		if a.ClientStatus == api.AllocClientStatusRunning && a.DesiredStatus == api.AllocDesiredStatusRun {
			running = append(running, a)
		}
	}
	return running
}

// blocks sends a blocking query about an unchanged job, which takes its full wait, and then about a
// job that changes meanwhile.
func (f *front) blocks() {
	f.t.Helper()
	ask := func(wait time.Duration, index uint64) (uint64, time.Duration, error) {
		began := time.Now()
		_, meta, err := f.client.Jobs().Info("blocking", (&api.QueryOptions{WaitIndex: index, WaitTime: wait}).WithContext(f.ctx))
		if err != nil {
			return 0, 0, err
		}
		return meta.LastIndex, time.Since(began), nil
	}
	file := func(n int) string {
		return f.file("blocking.nomad.hcl", fmt.Sprintf(idleJob, "blocking", n))
	}
	f.does("job", "run", "-detach", file(0))
	index, _, err := ask(0, 0)
	must.NoError(f.t, err)
	const short, long = 2 * time.Second, 10 * time.Minute
	f.eventually("a query lasts as long as it should", func() error { // the job's status may change
		now, took, err := ask(short, index)
		changed := now != index
		index = now
		if err == nil && (changed || took < short) {
			err = fmt.Errorf("it took %s", took)
		}
		return err
	})
	news := make(chan error, 1)
	go func() { // received below, or cut with the test's context
		now, took, err := ask(long, index)
		if err == nil && (now <= index || took >= long) {
			err = fmt.Errorf("index %d after %s, not more than %d", now, took, index)
		}
		news <- err
	}()
	f.does("job", "run", "-detach", file(1))
	must.NoError(f.t, <-news)
}

// idleJob has no allocations.
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

// events come by the raw API as they happen.
func (f *front) events() {
	f.t.Helper()
	n := 0
	f.prints(`"JobRegistered"`, func() {
		n++
		f.does("job", "run", "-detach", f.file("event.nomad.hcl", fmt.Sprintf(idleJob, "event", n)))
	}, "operator", "api", "/v1/event/stream?topic=Job:event")
}

// monitors reads the agent's log, in which each request stands.
func (f *front) monitors() {
	f.t.Helper()
	f.prints("path=/v1/status/peers", func() { f.does("operator", "api", "/v1/status/peers") }, "monitor", "-log-level=DEBUG")
}

func (f *front) stopsAndStarts() {
	f.t.Helper()
	f.does("job", "stop", "-detach", "counter")
	f.does("job", "start", "-detach", "counter")
	must.MapContainsKeys(f.t, f.running("counter").TaskStates, []string{"counter", "beside"})
	f.noDrift(f.counter())
}

// reverts checks that a job can be reverted to a version, but not to one registered without the proxy.
func (f *front) reverts() {
	f.t.Helper()
	slower := counterJob(f.t, "sleep 0.02", "sleep 0.2")
	f.does("job", "run", "-detach", f.file("slower.nomad.hcl", slower))
	f.does("job", "revert", "-detach", "counter", "0")
	must.MapContainsKeys(f.t, f.running("counter").TaskStates, []string{"counter", "beside"})
	f.noDrift(f.counter())

	round, err := f.RunJob(f.ctx, slower) // at the agent itself
	must.NoError(f.t, err)
	f.does("job", "run", "-detach", f.counter())
	code, out := f.nomad("job", "revert", "-detach", "counter", fmt.Sprint(*round.Job.Version))
	must.Eq(f.t, 1, code)
	must.StrContains(f.t, out, `lacks sidecar "beside" in group "counter"`)
}

func (f *front) dispatches() {
	f.t.Helper()
	f.does("job", "run", f.file("worker.nomad.hcl", testdata(f.t, "worker.nomad.hcl")))
	f.does("job", "dispatch", "-detach", "-meta", "word=hello", "worker")
	f.childRan("worker/dispatch-")
}

// forces starts a periodic job that is due once a year.
func (f *front) forces() {
	f.t.Helper()
	file := f.file("yearly.nomad.hcl", testdata(f.t, "worker.nomad.hcl", `job "worker"`, `job "yearly"`,
		"parameterized {", "periodic {", `meta_required = ["word"]`, `crons = ["@yearly"]`))
	f.does("job", "run", file)
	f.does("job", "periodic", "force", "-detach", "yearly")
	f.childRan("yearly/periodic-")
}

// childRan waits until the only child of a periodic or dispatched job has ended, and checks that it had
// its sidecar.
func (f *front) childRan(prefix string) {
	f.t.Helper()
	var child *api.AllocationListStub
	f.eventually("a job "+prefix+"… has run", func() error {
		jobs, _, err := f.Client().Jobs().PrefixList(prefix)
		if err != nil || len(jobs) != 1 {
			return fmt.Errorf("%d of them: %w", len(jobs), err)
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

// saves checks that a snapshot of the servers is complete, by its checksum.
func (f *front) saves() {
	f.t.Helper()
	snapshot := filepath.Join(f.dir, "backup.snap")
	f.does("operator", "snapshot", "save", snapshot)
	must.StrContains(f.t, f.does("operator", "snapshot", "inspect", snapshot), "JobVersion")
}

// page is Nomad's own, from where it is without the proxy.
func (f *front) page() {
	f.t.Helper()
	must.StrContains(f.t, f.does("ui", "-show-url", "counter"), f.address+"/ui/jobs/counter")
	for _, path := range []string{"/", "/ui/", "/ui/jobs/counter"} {
		direct, proxied := fetched(f.t, f.Address()+path), fetched(f.t, f.address+path)
		must.Eq(f.t, direct, proxied, must.Sprint(path))
		must.StrContains(f.t, proxied, "Nomad")
	}
}

// fetched is the answer after redirections, which are below the same host.
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
	for _, path := range []string{"/healthz", "/readyz"} {
		must.StrHasPrefix(f.t, "200 ", fetched(f.t, f.admin+path))
	}
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
