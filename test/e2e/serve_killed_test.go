package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/shoenig/test/must"
)

const (
	proxyKills      = 12
	killedWriters   = 6
	killedGroups    = 12
	killedBallast   = 20 << 10 // bytes per group, so that a kill interrupts requests
	writesPerKill   = 40       // maximum number of responses before a kill
	longestKillWait = 20 * time.Millisecond
)

// TestServe_Killed kills the proxy at random while many clients register jobs through it.
// Afterwards each job is absent or a version that a client sent, with all of its sidecars, and
// every acknowledged job exists.
func TestServe_Killed(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := c.serve()
	w := &writers{p: p, last: make([]atomic.Int64, killedWriters)}
	ctx, cancel := context.WithCancel(c.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for n := range killedWriters {
		all.Go(func() { w.write(ctx, n) })
	}
	address := strings.TrimPrefix(p.address, "http://")
	for range proxyKills {
		goal := w.answered.Load() + 1 + random.Int64N(writesPerKill)
		c.eventually("registrations are answered", func() error {
			if now := w.answered.Load(); now < goal {
				return fmt.Errorf("%d of %d", now, goal)
			}
			return nil
		})
		select {
		case <-time.After(time.Duration(random.Int64N(int64(longestKillWait)))): // a random time before the kill
		case <-c.ctx.Done():
		}
		must.NoError(t, p.process.Signal(syscall.SIGKILL))
		<-p.ended
		p = c.serveAt(address, "-policy", "testdata/serve", "-catalog", "testdata/serve")
	}
	cancel()
	all.Wait()
	t.Logf("%d registrations answered, %d cut, %d kills", w.answered.Load(), w.cut.Load(), proxyKills)
	must.Positive(t, w.cut.Load(), must.Sprint("requests cut by a kill"))
	for n := range killedWriters {
		w.checkVersions(n)
	}
}

// writers register a job each, repeatedly and with an increasing number.
type writers struct {
	p             *proxy
	answered, cut atomic.Int64
	last          []atomic.Int64 // highest acknowledged number of each job
}

func (w *writers) write(ctx context.Context, writer int) {
	for number := int64(1); ctx.Err() == nil; number++ {
		_, _, err := w.p.client.Jobs().Register(killedJob(writer, number), (&api.WriteOptions{}).WithContext(ctx))
		switch {
		case ctx.Err() != nil:
		case err == nil:
			w.last[writer].Store(number)
			w.answered.Add(1)
		case strings.Contains(err.Error(), "connection refused"): // the proxy is restarting
			time.Sleep(time.Millisecond) // retry interval
		default:
			w.cut.Add(1)
		}
	}
}

func killedID(writer int) string { return fmt.Sprintf("written-%d", writer) }

// killedJob returns a job without allocations and with its number in each group.
func killedJob(writer int, number int64) *api.Job {
	job := api.NewServiceJob(killedID(writer), killedID(writer), "global", 50)
	for n := range killedGroups {
		g := api.NewTaskGroup(fmt.Sprintf("g%d", n), 0)
		task := api.NewTask("app", "pod").SetConfig("command", "/bin/true")
		task.Env = map[string]string{"NUMBER": fmt.Sprint(number), "BALLAST": strings.Repeat("x", killedBallast)}
		job.AddTaskGroup(g.AddTask(task))
	}
	return job
}

// checkVersions checks all versions of a job that Nomad keeps.
func (w *writers) checkVersions(writer int) {
	w.p.t.Helper()
	versions, _, _, err := w.p.Client().Jobs().Versions(killedID(writer), false, nil)
	must.NoError(w.p.t, err)
	must.SliceNotEmpty(w.p.t, versions)
	last, found := fmt.Sprint(w.last[writer].Load()), false
	for _, job := range versions {
		detail := must.Sprintf("version %d of %s", *job.Version, *job.ID)
		must.Len(w.p.t, killedGroups, job.TaskGroups, detail)
		number := job.TaskGroups[0].Tasks[0].Env["NUMBER"]
		for _, g := range job.TaskGroups {
			must.Len(w.p.t, 2, g.Tasks, detail)
			must.Eq(w.p.t, "app", g.Tasks[0].Name, detail)
			must.Eq(w.p.t, number, g.Tasks[0].Env["NUMBER"], detail)
			must.Eq(w.p.t, killedBallast, len(g.Tasks[0].Env["BALLAST"]), detail)
			must.Eq(w.p.t, "beside", g.Tasks[1].Name, detail)
			must.Eq(w.p.t, "1.0.0", g.Tasks[1].Meta["sidecar.version"], detail)
		}
		found = found || number == last
	}
	must.True(w.p.t, found, must.Sprintf("%s: acknowledged number %s is missing", killedID(writer), last))
}
