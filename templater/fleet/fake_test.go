package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// cluster is a Nomad that keeps the versions of its jobs.
type cluster struct {
	mu       sync.Mutex
	order    []string
	versions map[string][]map[string]any
	index    int
	sick     map[string]bool // jobs whose evaluations fail
	paused   string
	waiting  int
	together int                         // most evaluations waited for at once
	held     chan struct{}               // if not nil, Wait ends when it is closed, or the context
	onJob    func(c *cluster, id string) // called before a job is given
	onApply  func(c *cluster, id string) // called before a job is registered
	applied  []string
	// deployments are active ones; refuses are jobs that Nomad refuses to register.
	deployments map[string]*Deployment
	unreadable  map[string]error
	reverts     bool // Nomad reverts sick jobs
	refuses     map[string]bool
	proxy       string                  // digest of the catalog of a proxy
	mutate      func(job []byte) []byte // what the proxy makes of a job
	waited      map[string]uint64       // version waited for
}

func newCluster() *cluster {
	return &cluster{versions: map[string][]map[string]any{}, sick: map[string]bool{}}
}

var errSick = errors.New("it is sick")

// put registers a job.
func (c *cluster) put(raw []byte) {
	var job map[string]any
	if err := json.Unmarshal(raw, &job); err != nil {
		panic(err)
	}
	id := job["ID"].(string)
	if c.versions[id] == nil {
		c.order = append(c.order, id)
	}
	c.index++
	job["Version"], job["JobModifyIndex"], job["Namespace"], job["Status"] = len(c.versions[id]), c.index, "default", "running"
	c.versions[id] = append(c.versions[id], job)
}

func (c *cluster) Jobs(context.Context, Ask, string) (page []Listed, next string, err error) {
	for _, id := range c.order {
		page = append(page, Listed{Ref: Ref{Namespace: "default", ID: id}, Paused: c.paused == id})
	}
	return page, "", nil
}

func (c *cluster) newest(id string) map[string]any {
	return c.versions[id][len(c.versions[id])-1]
}

func (c *cluster) Job(_ context.Context, of Ref) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onJob != nil {
		c.onJob(c, of.ID)
	}
	switch {
	case c.unreadable[of.ID] != nil:
		return nil, c.unreadable[of.ID]
	case c.versions[of.ID] == nil:
		return nil, ErrGone
	}
	return json.Marshal(c.newest(of.ID))
}

func (c *cluster) Versions(_ context.Context, of Ref) (out []json.RawMessage, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.versions[of.ID] {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out = append([]json.RawMessage{raw}, out...)
	}
	return out, nil
}

func (c *cluster) Deployment(_ context.Context, of Ref) (*Deployment, error) {
	return c.deployments[of.ID], nil
}

func (c *cluster) Proxy() string { return c.proxy }

// through returns what a proxy, if there is one, makes of a job.
func (c *cluster) through(job []byte) []byte {
	if c.mutate == nil {
		return job
	}
	return c.mutate(job)
}

func (c *cluster) Plan(_ context.Context, of Ref, job []byte) (*Preview, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := json.Marshal(c.newest(of.ID))
	if err != nil {
		return nil, err
	}
	job = c.through(job)
	had, err := content(now)
	if err != nil {
		return nil, err
	}
	has, err := content(job)
	if err != nil {
		return nil, err
	}
	return &Preview{
		Differs: had != has, Tasks: taskChanges(now, job), Restarts: []string{"g"},
		ModifyIndex: uint64(c.newest(of.ID)["JobModifyIndex"].(int)),
	}, nil
}

// taskChanges names the tasks with marks that differ, as Nomad's diff does.
func taskChanges(from, to []byte) (out []TaskChange) {
	a, _ := readHeader(from)
	b, _ := readHeader(to)
	had, has := a.marks(), b.marks()
	for at := range merged(had, has) {
		mark, there := has[at]
		change := TaskChange{Group: at.group, Task: at.task, Removed: !there}
		if there && had[at] != mark {
			change.Meta = map[string]string{"sidecar.name": mark.Name, "sidecar.version": mark.Version, "sidecar.digest": mark.Digest}
		}
		out = append(out, change)
	}
	return out
}

// scale changes the count of the first group, as an autoscaler does.
func (c *cluster) scale(id string, count int) {
	raw, err := json.Marshal(c.newest(id))
	if err != nil {
		panic(err)
	}
	var job map[string]any
	if err := json.Unmarshal(raw, &job); err != nil {
		panic(err)
	}
	job["TaskGroups"].([]any)[0].(map[string]any)["Count"] = count
	if raw, err = json.Marshal(job); err != nil {
		panic(err)
	}
	c.put(raw)
}

// count returns the count of the first group.
func (c *cluster) count(id string) any {
	return c.newest(id)["TaskGroups"].([]any)[0].(map[string]any)["Count"]
}

func (c *cluster) Apply(_ context.Context, ch Change) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onApply != nil {
		c.onApply(c, ch.ID)
	}
	now := c.newest(ch.ID)
	switch {
	case c.refuses[ch.ID]:
		return "", fmt.Errorf("%w: quota", ErrRefused)
	case ch.Job == nil && now["Version"].(int) != int(ch.From), ch.Job != nil && now["JobModifyIndex"].(int) != int(ch.ModifyIndex):
		return "", ErrChanged
	case ch.Job == nil:
		raw, err := json.Marshal(c.versions[ch.ID][ch.To])
		if err != nil {
			return "", err
		}
		ch.Job = raw
	default:
		ch.Job = c.through(ch.Job)
	}
	count := c.count(ch.ID)
	c.put(ch.Job)
	if ch.KeepCounts {
		c.newest(ch.ID)["TaskGroups"].([]any)[0].(map[string]any)["Count"] = count
	}
	c.applied = append(c.applied, ch.ID)
	return "eval-" + ch.ID, nil
}

func (c *cluster) Wait(ctx context.Context, of Ref, evaluation string, version uint64, report func(string)) error {
	c.mu.Lock()
	c.waiting++
	c.together = max(c.together, c.waiting)
	held, sick := c.held, c.sick[of.ID]
	if c.waited == nil {
		c.waited = map[string]uint64{}
	}
	c.waited[of.ID] = version
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting--
	}()
	report(evaluation)
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if sick && c.reverts {
		c.mu.Lock()
		defer c.mu.Unlock()
		raw, err := json.Marshal(c.versions[of.ID][version-1])
		if err != nil {
			return err
		}
		c.put(raw)
	}
	if sick {
		return errSick
	}
	return nil
}

// app is a job with meta.
func app(id, meta string) []byte {
	return fmt.Appendf(nil, `{"ID":%q,"Type":"service","Meta":{%s},"TaskGroups":[{"Name":"g","Tasks":[{"Name":"app","Driver":"pod","Config":{"command":"x"}}]}]}`, id, meta)
}

// rulesOf makes rules of one version of the sidecar beside, which every pod is to have.
func rulesOf(t *testing.T, versions ...string) *Rules {
	t.Helper()
	files := fstest.MapFS{}
	for _, v := range versions {
		files[v+".sidecar.hcl"] = &fstest.MapFile{Data: fmt.Appendf(nil, "sidecar \"beside\" {\n  version = %q\n  task \"beside\" {\n    driver = \"pod\"\n    env {\n      V = %q\n    }\n  }\n}\n", v, v)}
	}
	catalog, rules := &sidecar.Catalog{}, &policy.Policy{}
	diags := append(catalog.Load(files, ""), rules.Add([]byte("rule \"pods\" {\n  match {\n    driver = [\"pod\"]\n  }\n  inject \"beside\" {}\n}\n"), "p.policy.hcl")...)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return &Rules{Catalog: catalog, Policy: rules}
}

// upgraded is one run, and what became of each job.
func upgraded(t *testing.T, ctx context.Context, c *cluster, rules *Rules, journal *bytes.Buffer, change func(*Upgrade)) (map[string]string, error) {
	t.Helper()
	scan := &Scan{Nomad: c, Rules: rules, Parallel: 2}
	jobs, err := scan.Run(ctx)
	must.NoError(t, err)
	u := upgradeOf(t, c, rules, journal)
	if change != nil {
		change(u)
	}
	steps, err := u.Plan(ctx, jobs)
	must.NoError(t, err)
	err = u.Run(ctx, steps)
	return outcomes(steps), err
}

func upgradeOf(t *testing.T, c *cluster, rules *Rules, journal *bytes.Buffer) *Upgrade {
	t.Helper()
	j, err := OpenJournal(VerbUpgrade, bytes.NewReader(bytes.Clone(journal.Bytes())), journal)
	must.NoError(t, err)
	return &Upgrade{Planner: Planner{Nomad: c, Rules: rules}, Journal: j, Batch: 1, Report: func(Ref, string) {}}
}

func outcomes(steps []*Step) map[string]string {
	out := map[string]string{}
	for _, s := range steps {
		out[s.ID] = s.Outcome
	}
	return out
}
