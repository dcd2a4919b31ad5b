package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
	"github.com/nomad-sidecar/nomad-sidecar/test/internal/sandbox"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testtimeout"
)

func TestMain(m *testing.M) {
	if code, ok := asProxy(); ok {
		os.Exit(code)
	}
	os.Exit(sandbox.Main(m))
}

// TestServeload_ManyClients checks that with many concurrent clients no request fails, and that
// every job is stored as last sent, with its sidecars. It does not check times.
func TestServeload_ManyClients(t *testing.T) {
	sandbox.Require(t)
	nomad, err := agent.FindNomad("../../..")
	if errors.Is(err, agent.ErrNoNomad) {
		t.Skip(err)
	}
	must.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(3*time.Minute))
	defer cancel()
	f, err := newField(ctx, options{clients: 8, turns: 2, sizes: []int{1, 10, 100}}, nomad, t.TempDir())
	defer func() { must.NoError(t, f.close()) }()
	must.NoError(t, err)
	r, err := f.measure(ctx)
	must.NoError(t, err)
	must.MapLen(t, 3*3*8, f.last) // ways, sizes, clients
	must.NoError(t, f.wholeJobs(ctx))
	var table bytes.Buffer
	r.print(&table)
	must.StrContains(t, table.String(), "plan, 100 groups")
	must.StrContains(t, table.String(), "serve: 96 requests")
}

// TestServeload_SlowClients checks that requests through serve succeed while slow clients are
// connected.
func TestServeload_SlowClients(t *testing.T) {
	sandbox.Require(t)
	nomad, err := agent.FindNomad("../../..")
	if errors.Is(err, agent.ErrNoNomad) {
		t.Skip(err)
	}
	must.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), testtimeout.Scale(2*time.Minute))
	defer cancel()
	f, err := newField(ctx, options{clients: 4, turns: 1, slow: 300, sizes: []int{1}}, nomad, t.TempDir())
	defer func() { must.NoError(t, f.close()) }()
	must.NoError(t, err)
	f.ways = f.ways[2:] // serve only
	r, err := f.measure(ctx)
	must.NoError(t, err)
	must.Zero(t, r.failed["serve"])
	must.Len(t, 4, r.times["serve"][kind{false, 1}])
}

func TestServeload_IncompleteJob(t *testing.T) {
	group := `{"Name":"a","Tasks":[{"Name":"note","Env":{"TEXT":"of x-1, a"}},{"Name":"app","Env":{"NOTE":"of x-1, a","PORT":"8080","NUMBER":"7"}}]}`
	whole := `{"ID":"x-1","Meta":{"number":"7"},"TaskGroups":[` + group + `]}`
	must.NoError(t, wholeJob([]byte(whole), "7"))
	must.ErrorContains(t, wholeJob([]byte(whole), "8"), `1 groups of registration "7", want 1 of "8"`)
	for _, broken := range []string{
		`{"ID":"x-1","Meta":{"number":"7"},"TaskGroups":[]}`,
		`{"ID":"x-2","Meta":{"number":"7"},"TaskGroups":[` + group + `]}`,
		`{"ID":"x-1","Meta":{"number":"7"},"TaskGroups":[{"Name":"a","Tasks":[{"Name":"app"}]}]}`,
	} {
		must.Error(t, wholeJob([]byte(broken), "7"))
	}
}

func TestMemory_Grows(t *testing.T) {
	const mib = 1 << 20
	must.NoError(t, memory{40 * mib, 60 * mib, 55 * mib, 61 * mib}.grown())
	must.NoError(t, memory{40 * mib}.grown())
	must.ErrorContains(t, memory{40 * mib, 60 * mib, 80 * mib, 100 * mib}.grown(), "from 60 MiB in the first half to 100 MiB")
}

func TestShares(t *testing.T) {
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i))
	}
	must.Eq(t, 51, share(all, 50))
	must.Eq(t, 100, share(all, 99))
	must.Eq(t, 0, share(nil, 99))
}

func TestOptions_Invalid(t *testing.T) {
	for _, args := range [][]string{{"job.nomad.hcl"}, {"-clients", "0"}, {"-turns", "0"}, {"-turn", "0s"}, {"-sizes", "1"}} {
		_, err := parse(args)
		must.Error(t, err)
	}
}
