//go:build unix

package templater_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// manyGroups is fullJob with its group n times.
func manyGroups(n int) []byte {
	from, to := strings.Index(fullJob, "  group"), strings.LastIndex(fullJob, "}")
	var out strings.Builder
	out.WriteString(fullJob[:from])
	for i := range n {
		out.WriteString(strings.Replace(fullJob[from:to], `"g"`, fmt.Sprintf(`"g%d"`, i), 1))
	}
	out.WriteString("}\n")
	return []byte(out.String())
}

// injecting is a run of injecting tls-proxy and topz into each of n groups, reading
// and writing the job included, and what Nomad does to read the same job: jobspec2 for
// HCL, decoding into the types of the API for JSON.
type injecting struct {
	form          string
	inject, parse func()
}

func injectingInto(t must.T, n int) []injecting {
	c, src := &sidecar.Catalog{}, manyGroups(n)
	must.False(t, c.Load(os.DirFS("../jobs/sidecars"), "sidecars").HasErrors())
	flags := with("tls-proxy", "topz")
	flags.Params = map[string]map[string]sidecar.Argument{"tls-proxy": {"app_port": {Value: cty.NumberIntVal(8080)}}}
	raw, diags := parseHCL(t, src).JSON()
	must.False(t, diags.HasErrors())
	return []injecting{
		{"HCL", func() { inject(t, parseHCL(t, src), c, flags) }, func() {
			_, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: src, Strict: true})
			must.NoError(t, err)
		}},
		{"JSON", func() { inject(t, parseJSON(t, raw, c), c, flags) }, func() {
			must.NoError(t, json.Unmarshal(raw, &api.JobRegisterRequest{}))
		}},
	}
}

// BenchmarkInject measures what injecting costs beside what Nomad needs to parse the
// same job, for jobs of several sizes. It is processor time of the whole process,
// garbage collection included; the two take turns and the least of each counts, so
// that other load on the machine does not matter: give it some rounds (-benchtime 30x).
// It has one processor, because the collector marks on idle ones too, which is work
// that nobody waits for. The ratio is the metric "inject/parse".
func BenchmarkInject(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, n := range []int{1, 10, 100, 1000} {
		for _, in := range injectingInto(b, n) {
			b.Run(fmt.Sprintf("form=%s/groups=%d", in.form, n), func(b *testing.B) {
				compare(b, in.inject, in.parse)
			})
		}
	}
}

// What injecting costs grows with the job, no faster: a group of a big job costs what
// one of a small job does. Bytes are counted in place of time, which depends on
// whatever else the machine does; most that is quadratic copies something as well.
func TestInjectingGrowsWithTheJob(t *testing.T) {
	const few, many = 40, 640
	small, big := injectingInto(t, few), injectingInto(t, many)
	for i, in := range small {
		t.Run(in.form, func(t *testing.T) {
			one, more := allocated(in.inject)/few, allocated(big[i].inject)/many
			t.Logf("%d bytes a group for %d groups, %d for %d", one, few, more, many)
			must.Less(t, one*5/4, more)
		})
	}
}

// allocated is how many bytes a run allocates, the least of a few times: what runs once
// for the process, and what other goroutines do, is not of the run.
func allocated(run func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// compare reports the least processor time of each in milliseconds, and their ratio.
func compare(b *testing.B, inject, parse func()) {
	least := func(sofar time.Duration, run func()) time.Duration {
		runtime.GC() // what the other one has left
		begin := processorTime(b)
		run()
		return min(sofar, processorTime(b)-begin)
	}
	injecting, parsing := time.Hour, time.Hour
	for b.Loop() {
		parsing = least(parsing, parse)
		injecting = least(injecting, inject)
	}
	b.ReportMetric(0, "ns/op") // both together, which is of no use
	b.ReportMetric(float64(injecting.Microseconds())/1000, "inject-ms")
	b.ReportMetric(float64(parsing.Microseconds())/1000, "parse-ms")
	b.ReportMetric(float64(injecting)/float64(parsing), "inject/parse")
}

// processorTime is what this process has used so far.
func processorTime(t must.T) time.Duration {
	var used syscall.Rusage
	must.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
