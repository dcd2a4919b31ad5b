package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Values that differ between requests have a fixed width, so that sizes are equal.
const (
	idMark     = "id------------------"
	numberMark = "number--------------"
)

// requestOf returns the registration of a job with some groups and a count of 0.
func requestOf(groups int) []byte {
	all := make([]string, groups)
	for i := range all {
		all[i] = fmt.Sprintf(`{"Name":"group-%03d","Count":0,"Networks":[{"Mode":"bridge","DynamicPorts":[{"Label":"http","To":8080}]}],"Tasks":[{"Name":"app","Driver":"raw_exec","Config":{"command":"/bin/app","args":["-listen","8080"]},"Env":{"PORT":"8080","NUMBER":"%s"},"Resources":{"CPU":100,"MemoryMB":64},"Services":[{"Name":"svc-%03d","PortLabel":"http","Provider":"nomad"}]}]}`, i, numberMark, i)
	}
	return fmt.Appendf(nil, `{"Job":{"ID":"%s","Name":"%s","Type":"service","Datacenters":["*"],"Meta":{"noted":"yes","number":"%s"},"TaskGroups":[%s]}}`, idMark, idMark, numberMark, strings.Join(all, ","))
}

// kind groups the times of requests.
type kind struct {
	plan   bool
	groups int
}

func (k kind) String() string {
	verb := map[bool]string{true: "plan", false: "register"}[k.plan]
	return fmt.Sprintf("%s, %d groups", verb, k.groups)
}

func (f *field) kinds() []kind {
	var out []kind
	for _, groups := range f.sizes {
		out = append(out, kind{false, groups}, kind{true, groups})
	}
	return out
}

// measure runs all ways in turns.
func (f *field) measure(ctx context.Context) (*report, error) {
	r := newReport(f)
	for turn := range f.turns {
		for _, w := range f.ways {
			if f.slow > 0 && w.direct() {
				continue // its connections would count against Nomad's limit
			}
			if err := f.turnOf(ctx, w, turn, r); err != nil {
				return r, fmt.Errorf("%s: %w", w.name, err)
			}
			if err := f.idle(ctx, w); err != nil {
				return r, err
			}
		}
		if err := r.sample(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// idle waits, next to slow clients, until Nomad has no connection: the next proxy has the same
// address, for which Nomad has one limit.
func (f *field) idle(ctx context.Context, after *way) error {
	if f.slow == 0 {
		return nil
	}
	f.client.CloseIdleConnections()
	return poll(ctx, "Nomad is idle after "+after.name, func() error {
		if n, err := accepted(nomadPort); err != nil || n > 0 {
			return fmt.Errorf("%d connections to Nomad: %w", n, errors.Join(errBusy, err))
		}
		return nil
	})
}

var errBusy = errors.New("still busy")

func (f *field) turnOf(ctx context.Context, w *way, turn int, r *report) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, f.clients)
	end := time.Now().Add(f.turn)
	if f.slow > 0 && !w.direct() {
		slow, err := f.openSlow(ctx, w.url)
		defer func() { _ = slow.close() }() // the proxy may have closed it first
		if err != nil {
			return err
		}
		wait.Go(func() { r.watch(ctx, f.proxyOf(w), end) })
	}
	for i := range f.clients {
		wait.Go(func() {
			for n := 0; ; n++ {
				if f.turn == 0 && n == len(f.kinds()) || f.turn > 0 && !time.Now().Before(end) || ctx.Err() != nil {
					return
				}
				// Each client starts with another kind, or all would send the large ones at the
				// same time.
				k := f.kinds()[(i+turn+n)%len(f.kinds())]
				if errs[i] = f.one(ctx, w, k, i, fmt.Sprintf("%06d-%06d", turn, n), r); errs[i] != nil {
					cancel() // one error is enough
					return
				}
			}
		})
	}
	wait.Wait()
	for _, err := range errs { // the others were cancelled by the first
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return context.Cause(ctx)
}

// one sends one request of a client.
func (f *field) one(ctx context.Context, w *way, k kind, client int, number string, r *report) error {
	id := fmt.Sprintf("%s-%03d-%03d", w.name, client, k.groups)
	body := w.sends[indexOf(f.sizes, k.groups)]
	body = bytes.ReplaceAll(body, []byte(idMark), fmt.Appendf(nil, "%-*s", len(idMark), id+strings.Repeat("x", len(idMark)-len(id))))
	body = bytes.ReplaceAll(body, []byte(numberMark), fmt.Appendf(nil, "%-*s", len(numberMark), number))
	path := "/v1/jobs"
	id += strings.Repeat("x", len(idMark)-len(id))
	if k.plan {
		path = "/v1/job/" + id + "/plan"
	}
	begin := time.Now()
	if err := f.send(ctx, w.url+path, body, nil); err != nil {
		if f.slow > 0 && ctx.Err() == nil {
			r.fail(w.name, err)
			return nil
		}
		return fmt.Errorf("%s: %w", k, err)
	}
	r.add(w.name, k, time.Since(begin))
	if !k.plan {
		r.mu.Lock()
		defer r.mu.Unlock()
		f.last[id] = number
	}
	return nil
}

func indexOf(sizes []int, groups int) int {
	for i, s := range sizes {
		if s == groups {
			return i
		}
	}
	return -1
}

// send sends a body, or a GET without one, and reads the whole response.
func (f *field) send(ctx context.Context, url string, body []byte, use func([]byte) error) error {
	method := http.MethodPut
	if body == nil {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("read response: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %.300s", resp.Status, raw)
	case use != nil:
		return use(raw)
	}
	return nil
}

// wholeJobs checks that Nomad stores each job as last registered, with its sidecars.
func (f *field) wholeJobs(ctx context.Context) error {
	for id, number := range f.last {
		err := f.send(ctx, f.nomad+"/v1/job/"+id, nil, func(raw []byte) error { return wholeJob(raw, number) })
		if err != nil {
			return fmt.Errorf("stored job %s: %w", id, err)
		}
	}
	return nil
}

func wholeJob(raw []byte, number string) error {
	var job struct {
		ID         string
		Meta       map[string]string
		TaskGroups []struct {
			Name  string
			Tasks []struct {
				Name string
				Env  map[string]string
			}
		}
	}
	if err := json.Unmarshal(raw, &job); err != nil {
		return err
	}
	var groups int
	if _, err := fmt.Sscanf(job.ID[strings.LastIndex(job.ID, "-")+1:], "%d", &groups); err != nil {
		return err
	}
	if got := strings.TrimSpace(job.Meta["number"]); got != number || len(job.TaskGroups) != groups {
		return fmt.Errorf("%d groups of registration %q, want %d of %q", len(job.TaskGroups), got, groups, number)
	}
	for _, g := range job.TaskGroups {
		tasks := map[string]string{}
		for _, t := range g.Tasks {
			tasks[t.Name] = t.Env["NOTE"] + t.Env["TEXT"] + t.Env["PORT"] + strings.TrimSpace(t.Env["NUMBER"])
		}
		text := "of " + job.ID + ", " + g.Name
		if len(g.Tasks) != 2 || tasks["app"] != text+"8080"+number || tasks["note"] != text {
			return fmt.Errorf("group %q has tasks %q", g.Name, tasks)
		}
	}
	return nil
}
