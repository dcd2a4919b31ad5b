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
	killedBallast   = 20 << 10 // bytes a group, so that a kill finds requests half sent
	writesPerKill   = 40       // at most that many are answered before a kill
	longestKillWait = 20 * time.Millisecond
)

// TestServe_Killed kills the proxy at random while many clients register jobs through it. Afterwards
// each job is absent or a version that a client sent, with all of its sidecars, and every acknowledged
// job exists.
func TestServe_Killed(t *testing.T) {
	t.Parallel()
	c := start(t, "runc")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := c.serve()
	w := &writers{f: f, last: make([]atomic.Int64, killedWriters)}
	ctx, cancel := context.WithCancel(c.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for n := range killedWriters {
		all.Go(func() { w.write(ctx, n) })
	}
	address := strings.TrimPrefix(f.address, "http://")
	for range proxyKills {
		goal := w.answered.Load() + 1 + random.Int64N(writesPerKill)
		c.eventually("some are answered", func() error {
			if now := w.answered.Load(); now < goal {
				return fmt.Errorf("%d of %d", now, goal)
			}
			return nil
		})
		select {
		case <-time.After(time.Duration(random.Int64N(int64(longestKillWait)))): // the moment of the kill
		case <-c.ctx.Done():
		}
		must.NoError(t, f.process.Signal(syscall.SIGKILL))
		<-f.ended
		f = c.serveAt(address, "-policy", "testdata/serve", "-catalog", "testdata/serve")
	}
	cancel()
	all.Wait()
	t.Logf("%d registrations answered, %d cut, %d kills", w.answered.Load(), w.cut.Load(), proxyKills)
	must.Positive(t, w.cut.Load(), must.Sprint("no kill has met a request"))
	for n := range killedWriters {
		w.whole(n)
	}
}

// writers register a job each, again and again, each time with a higher number.
type writers struct {
	f             *front
	answered, cut atomic.Int64
	last          []atomic.Int64 // the highest number answered, of each job
}

func (w *writers) write(ctx context.Context, writer int) {
	for number := int64(1); ctx.Err() == nil; number++ {
		_, _, err := w.f.client.Jobs().Register(killedJob(writer, number), (&api.WriteOptions{}).WithContext(ctx))
		switch {
		case ctx.Err() != nil:
		case err == nil:
			w.last[writer].Store(number)
			w.answered.Add(1)
		case strings.Contains(err.Error(), "connection refused"): // it is not there yet
			time.Sleep(time.Millisecond) // between two tries
		default:
			w.cut.Add(1)
		}
	}
}

func killedID(writer int) string { return fmt.Sprintf("written-%d", writer) }

// killedJob has no allocations, and its number in each of its groups.
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

// whole checks all versions that Nomad keeps of a job.
func (w *writers) whole(writer int) {
	w.f.t.Helper()
	versions, _, _, err := w.f.Client().Jobs().Versions(killedID(writer), false, nil)
	must.NoError(w.f.t, err)
	must.SliceNotEmpty(w.f.t, versions)
	last, found := fmt.Sprint(w.last[writer].Load()), false
	for _, job := range versions {
		told := must.Sprintf("version %d of %s", *job.Version, *job.ID)
		must.Len(w.f.t, killedGroups, job.TaskGroups, told)
		number := job.TaskGroups[0].Tasks[0].Env["NUMBER"]
		for _, g := range job.TaskGroups {
			must.Len(w.f.t, 2, g.Tasks, told)
			must.Eq(w.f.t, "app", g.Tasks[0].Name, told)
			must.Eq(w.f.t, number, g.Tasks[0].Env["NUMBER"], told)
			must.Eq(w.f.t, killedBallast, len(g.Tasks[0].Env["BALLAST"]), told)
			must.Eq(w.f.t, "beside", g.Tasks[1].Name, told)
			must.Eq(w.f.t, "1.0.0", g.Tasks[1].Meta["sidecar.version"], told)
		}
		found = found || number == last
	}
	must.True(w.f.t, found, must.Sprintf("%s: number %s was answered", killedID(writer), last))
}
