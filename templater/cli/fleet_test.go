package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/cluster"
	"github.com/nomad-sidecar/nomad-sidecar/templater/fleet"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// crowd is a Nomad with very many jobs, made as they are asked for.
type crowd struct {
	jobs    int
	ballast string

	mu                 sync.Mutex
	pages, asked       int
	now, most, tooSoon int
	served             int
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Nomad-Index", "7")
	w.Header().Set("X-Nomad-LastContact", "0")
	w.Header().Set("X-Nomad-KnownLeader", "true")
	if r.URL.Path == "/v1/deployments" {
		_, _ = w.Write([]byte(`[{"Namespace":"default","JobID":"job-00007"}]`))
		return
	}
	if r.URL.Path == "/v1/jobs" {
		c.page(w, r)
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/v1/job/")
	c.mu.Lock()
	c.asked, c.now = c.asked+1, c.now+1
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	body := fmt.Sprintf(`{"ID":%q,"Namespace":"default","Type":"service","Status":"running","Meta":{"ballast":%q},"TaskGroups":[{"Name":"g","Count":1,"Meta":{"sidecar.inject":"beside"},"Tasks":[{"Name":"app","Driver":"pod"}]}]}`, id, c.ballast)
	c.mu.Lock()
	c.now, c.served = c.now-1, c.served+len(body)
	c.mu.Unlock()
	_, _ = w.Write([]byte(body))
}

func (c *crowd) page(w http.ResponseWriter, r *http.Request) {
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	from, _ := strconv.Atoi(r.URL.Query().Get("next_token"))
	c.mu.Lock()
	c.pages++
	// What was listed before must have been asked for, but for what is asked right now.
	if from-c.asked > 4 {
		c.tooSoon++
	}
	c.mu.Unlock()
	list := []map[string]string{}
	for n := from; n < min(from+size, c.jobs); n++ {
		list = append(list, map[string]string{"ID": fmt.Sprintf("job-%05d", n), "Namespace": "default"})
	}
	if from+size < c.jobs {
		w.Header().Set("X-Nomad-NextToken", strconv.Itoa(from+size))
	} else {
		list = append(list, map[string]string{"ID": "job-1/dispatch-1", "Namespace": "default", "ParentID": "job-1"})
	}
	_ = json.NewEncoder(w).Encode(list)
}

func catalogOf(t *testing.T, definition string) *sidecar.Catalog {
	t.Helper()
	c := &sidecar.Catalog{}
	diags := c.Load(fstest.MapFS{"beside.sidecar.hcl": &fstest.MapFile{Data: []byte(definition)}}, "")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return c
}

func TestManyJobsTakeLittleMemory(t *testing.T) {
	served := &crowd{jobs: 10_000, ballast: strings.Repeat("x", 8<<10)}
	server := httptest.NewServer(served)
	defer server.Close()
	t.Setenv("NOMAD_ADDR", server.URL)
	nomad, err := cluster.Open()
	must.NoError(t, err)
	scan := &fleet.Scan{
		Nomad: &fleetNomad{Cluster: nomad}, Ask: fleet.Ask{Namespace: "*"}, Parallel: 4,
		Rules: &fleet.Rules{Catalog: catalogOf(t, `sidecar "beside" {
  version = "1.0.0"
  task "beside" {
    driver = "pod"
  }
}`)},
	}
	last := 0
	scan.Progress = func(jobs int) { last = jobs }
	jobs, err := scan.Run(t.Context())
	must.NoError(t, err)
	must.Len(t, 10_000, jobs)
	must.Eq(t, 10_000, last)
	must.Eq(t, "job-09999", jobs[9_999].ID)
	must.Eq(t, fleet.StateMissing, jobs[9_999].Groups[0].Sidecars[0].State)
	must.Eq(t, fleet.Paused, jobs[7].Activity)
	must.Eq(t, 50, served.pages)
	must.LessEq(t, 4, served.most)
	must.Zero(t, served.tooSoon)

	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	must.Greater(t, 80<<20, served.served)
	must.Less(t, 40<<20, int(memory.HeapAlloc), must.Sprint("the jobs themselves are not kept"))
	runtime.KeepAlive(jobs)
}
