package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

// create creates the group in each hierarchy with statistics.
func (g Group) create(t testing.TB) {
	t.Helper()
	for _, src := range g.sources() {
		must.NoError(t, os.MkdirAll(filepath.Dir(g.file(src)), 0o755))
	}
}

// busy runs a shell in the group that uses CPU time and then blocks on its standard input, until
// the test ends.
func busy(t *testing.T, g Group) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read x; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read y; true")
	in, err := cmd.StdinPipe()
	must.NoError(t, err)
	must.NoError(t, cmd.Start())
	g.create(t)
	for _, src := range g.sources() {
		must.NoError(t, addTo(filepath.Dir(g.file(src)), cmd.Process.Pid))
	}
	_, err = in.Write([]byte("\n"))
	must.NoError(t, err)
	t.Cleanup(func() {
		must.NoError(t, in.Close())
		must.NoError(t, cmd.Wait())
	})
}

func TestStats(t *testing.T) {
	g := group(t)
	busy(t, g)
	m := g.Meter()
	defer m.Close()
	deadline := time.Now().Add(testtimeout.Scale(20 * time.Second))
	for {
		s, err := m.Stats()
		must.NoError(t, err)
		if s.CPU.TotalNanos > 50e6 && s.CPU.UserNanos > 20e6 && s.Memory.RSS > 0 && s.Memory.Usage >= s.Memory.RSS &&
			s.Memory.MaxUsage >= s.Memory.Usage {
			must.Eq(t, 0, s.OOMKills)
			kills, err := g.OOMKills()
			must.NoError(t, err)
			must.Eq(t, 0, kills)
			break
		}
		must.True(t, time.Now().Before(deadline), must.Sprintf("stats: %+v", s))
	}
}

func TestFilesOfEachKernel(t *testing.T) {
	v1 := map[string]string{
		"cpuacct.usage": "1234567\n", "cpuacct.stat": "user 3\nsystem 2\n",
		"cpu.stat":              "nr_periods 9\nnr_throttled 4\nthrottled_time 5000\n",
		"memory.stat":           "cache 1\nrss 2\nnew_of_a_later_kernel x\ntotal_cache 11\ntotal_rss 12\ntotal_mapped_file 13\ntotal_swap 14\n",
		"memory.usage_in_bytes": "15\n", "memory.max_usage_in_bytes": "16\n",
		"memory.kmem.usage_in_bytes": "17\n", "memory.kmem.max_usage_in_bytes": "18\n",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 19\n",
	}
	v2 := map[string]string{
		"cpu.stat":    "usage_usec 50\nuser_usec 30\nsystem_usec 20\nnr_periods 9\nnr_throttled 4\nthrottled_usec 5\n",
		"memory.stat": "anon 12\nfile 11\nkernel 99\nkernel_stack 1\nslab 2\nsock 3\nfile_mapped 13\n", "memory.current": "15\n",
		"memory.peak": "16\n", "memory.swap.current": "14\n", "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 19\noom_group_kill 0\n",
	}
	memory := Memory{RSS: 12, Cache: 11, MappedFile: 13, Swap: 14, Usage: 15, MaxUsage: 16, Kernel: 17, MaxKernel: 18}
	onV2 := memory
	onV2.Kernel, onV2.MaxKernel = 6, 0
	for _, tc := range []struct {
		version Version
		files   map[string]string
		want    Stats
	}{
		{V1, v1, Stats{CPU: CPU{1234567, 30e6, 20e6, 4, 5000}, Memory: memory, OOMKills: 19}},
		{V2, v2, Stats{CPU: CPU{50000, 30000, 20000, 4, 5000}, Memory: onV2, OOMKills: 19}},
	} {
		var got Stats
		for _, src := range At(tc.version, "/x").sources() {
			text, ok := tc.files[src.name]
			must.True(t, ok, must.Sprint(src.name))
			must.NoError(t, src.parse([]byte(text), &got))
		}
		must.Eq(t, tc.want, got)
	}
}

func TestStats_MalformedFile(t *testing.T) {
	var s Stats
	number := source{name: "x", fields: []field{{"", func(*Stats, uint64) {}}}}
	must.ErrorContains(t, number.parse([]byte("max\n"), &s), `parsing "max"`)
	must.ErrorContains(t, number.parse(nil, &s), `parsing ""`)
	must.ErrorContains(t, oomV2.parse([]byte("low 0\noom_kill\n"), &s), "oom_kill: ")
}
