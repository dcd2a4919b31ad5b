package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// Allowed growth of serve's memory in the second half of a run: the garbage collector returns
// memory irregularly.
const (
	mayGrowBytes  = 16 << 20
	mayGrowFactor = 1.2
)

const nomadPort = 4646

// report contains the measurements.
type report struct {
	f      *field
	mu     sync.Mutex
	times  map[string]map[kind][]time.Duration // by way
	begin  map[*child]use
	memory memory
	// With slow clients: failed requests, and a proxy's maximum connections to Nomad and resident
	// bytes meanwhile.
	failed, held, resident map[string]int
	why                    map[string]error // the first failure
}

// memory lists the resident memory of serve after each round.
type memory []int

func newReport(f *field) *report {
	r := &report{
		f: f, times: map[string]map[kind][]time.Duration{}, begin: map[*child]use{},
		failed: map[string]int{}, held: map[string]int{}, resident: map[string]int{}, why: map[string]error{},
	}
	for _, w := range f.ways {
		r.times[w.name] = map[kind][]time.Duration{}
	}
	for _, c := range []*child{f.bare, f.serve} {
		r.begin[c], _ = c.use() // 0 is close enough
	}
	return r
}

func (r *report) add(way string, k kind, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times[way][k] = append(r.times[way][k], took)
}

func (r *report) fail(way string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed[way]++; r.failed[way] == 1 {
		r.why[way] = err
	}
}

// watch samples a proxy until end.
func (r *report) watch(ctx context.Context, c *child, end time.Time) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		held, err := c.held(nomadPort)
		if now, err2 := c.use(); err == nil && err2 == nil {
			r.mu.Lock()
			r.held[c.name] = max(r.held[c.name], held)
			r.resident[c.name] = max(r.resident[c.name], now.residentBytes)
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *report) sample() error {
	now, err := r.f.serve.use()
	r.memory = append(r.memory, now.residentBytes)
	return err
}

// grown returns an error if the second half of a run used more memory than the first.
func (m memory) grown() error {
	half := len(m) / 2
	if half == 0 {
		return nil
	}
	middle, end := slices.Max(m[:half]), m[len(m)-1]
	if float64(end) > float64(middle)*mayGrowFactor+mayGrowBytes {
		return fmt.Errorf("the memory of serve grew from %d MiB in the first half to %d MiB at the end", middle>>20, end>>20)
	}
	return nil
}

// share returns a percentile.
func share(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func (r *report) print(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%d clients\trequests\tdirect p50\tbare p50\tserve p50\tadded p50\tdirect p99\tbare p99\tserve p99\tadded p99\t\n", r.f.clients)
	for _, k := range r.f.kinds() {
		n := 0
		fmt.Fprintf(t, "%s\t", k)
		for _, w := range r.f.ways {
			n += len(r.times[w.name][k])
		}
		fmt.Fprintf(t, "%d\t", n)
		for _, percent := range []int{50, 99} {
			for _, w := range r.f.ways {
				fmt.Fprintf(t, "%s\t", ms(share(r.times[w.name][k], percent)))
			}
			fmt.Fprintf(t, "%s\t", ms(share(r.times["serve"][k], percent)-share(r.times["bare"][k], percent)))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // to a terminal
	fmt.Fprintln(out, "Added: serve minus the bare proxy.")
	for _, c := range []*child{r.f.bare, r.f.serve} {
		now, err := c.use()
		if err != nil {
			fmt.Fprintln(out, err)
			continue
		}
		n := 0
		for _, times := range r.times[c.name] {
			n += len(times)
		}
		fmt.Fprintf(out, "%s: %d requests, %.2f ms of a processor each, %d MiB resident at the end\n", c.name, n, 1000*(now.cpuSeconds-r.begin[c].cpuSeconds)/float64(max(n, 1)), now.residentBytes>>20)
	}
	if r.f.slow > 0 {
		for _, c := range []*child{r.f.bare, r.f.serve} {
			fmt.Fprintf(out, "%s, beside %d slow clients: %d requests of others failed, %d connections to Nomad at most, %d MiB resident at most\n",
				c.name, r.f.slow, r.failed[c.name], r.held[c.name], r.resident[c.name]>>20)
			if err := r.why[c.name]; err != nil {
				fmt.Fprintf(out, "  the first failure: %v\n", err)
			}
		}
	}
	if len(r.memory) > 0 {
		fmt.Fprintf(out, "serve: resident %d MiB at first, %d in the middle, %d at the end\n", r.memory[0]>>20, r.memory[len(r.memory)/2]>>20, r.memory[len(r.memory)-1]>>20)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
