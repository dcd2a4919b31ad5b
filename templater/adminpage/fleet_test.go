package adminpage

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
)

// However often somebody looks, the cluster is read once in a while only, and not at
// all where nobody looks.
func TestJobsAreReadOnceInAWhile(t *testing.T) {
	f := start(t, shop(), time.Hour)
	scans, _ := f.counted()
	must.Zero(t, scans)
	f.read()
	for range 50 {
		status, _ := f.get("/")
		must.Eq(t, http.StatusOK, status)
	}
	scans, _ = f.counted()
	must.Eq(t, 1, scans)
}

func TestJobsAreReadAgainForWhoeverLooks(t *testing.T) {
	f := start(t, shop(), time.Millisecond).read()
	f.change(func(c *cluster) { c.jobs = c.jobs[:1] })
	f.eventually(func() bool { return len(f.fleet.Look().Jobs) == 1 })
}

// What was read stays, and the error is told.
func TestWhatWasReadOutlivesAnError(t *testing.T) {
	f := start(t, shop(), time.Millisecond).read()
	f.change(func(c *cluster) { c.err = errors.New("403 (Permission denied)") })
	f.eventually(func() bool { return f.fleet.Look().Err != nil })
	must.Len(t, len(shop()), f.fleet.Look().Jobs)
	_, body := f.get("/")
	must.StrContains(t, body, "The jobs could not be read: 403 (Permission denied). What is shown is older.")
	must.StrContains(t, body, "billing")
	f.change(func(c *cluster) { c.err = nil })
	f.eventually(func() bool { return f.fleet.Look().Err == nil })
}

func TestAJobIsReadOnceToBeExplained(t *testing.T) {
	f := start(t, shop(), time.Hour).read()
	var wait sync.WaitGroup
	for range 20 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			_, err := f.fleet.Explain(context.Background(), fleet.Ref{Namespace: "default", ID: "cart"})
			must.NoError(t, err)
		}()
	}
	wait.Wait()
	_, explained := f.counted()
	must.LessEq(t, maxAtOnce, explained, must.Sprint("two may begin at the same time"))
	before := explained
	_, err := f.fleet.Explain(t.Context(), fleet.Ref{Namespace: "default", ID: "cart"})
	must.NoError(t, err)
	_, explained = f.counted()
	must.Eq(t, before, explained)

	_, err = f.fleet.Explain(t.Context(), fleet.Ref{Namespace: "secret", ID: "cart"})
	must.ErrorIs(t, err, errUnknown)
	_, explained = f.counted()
	must.Eq(t, before, explained, must.Sprint("what the fleet does not have is not asked for"))
}

func TestExplanationsThatAreKeptAreBounded(t *testing.T) {
	var jobs []*fleet.Job
	for i := range 3 * maxExplained {
		jobs = append(jobs, job("default", string(rune('0'+i))))
	}
	f := start(t, jobs, time.Hour).read()
	for _, j := range jobs {
		_, err := f.fleet.Explain(t.Context(), j.Ref())
		must.NoError(t, err)
		must.LessEq(t, maxExplained, len(f.fleet.explained))
	}
}
