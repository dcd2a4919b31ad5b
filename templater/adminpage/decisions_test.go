package adminpage

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/admission"
)

func numbers(all []Decided) string {
	var out []string
	for _, d := range all {
		out = append(out, fmt.Sprint(d.Number))
	}
	return strings.Join(out, " ")
}

func TestOnlyTheLastDecisionsAreKept(t *testing.T) {
	d := NewDecisions(3)
	must.SliceEmpty(t, d.All())
	for n := 1; n <= 9; n++ {
		what := "passed"
		if n == 2 || n == 4 {
			what = "denied"
		}
		d.Add(decision("default", "web", what))
	}
	must.Eq(t, "9 8 7 4 2", numbers(d.All()), must.Sprint("denials are not pushed out by others"))
	must.Eq(t, "4 2", numbers(d.Denials()))
	for range 4 {
		d.Add(decision("default", "web", "denied"))
	}
	must.Eq(t, "13 12 11 9 8 7", numbers(d.All()))
	must.Eq(t, "13 12 11", numbers(d.Denials()))
	must.Eq(t, 13, d.Seen())
}

// Who sends requests cannot make the memory full.
func TestWhatIsKeptOfADecisionIsBounded(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	many := make([]string, 1000)
	for i := range many {
		many[i] = long
	}
	d := NewDecisions(1)
	d.Add(admission.Decision{
		Decision: "denied", Client: long, Accessor: long, Method: long, Path: long, Job: long, Namespace: long, Region: long,
		Rules: many, Reasons: many, Sidecars: []admission.Injected{{Group: long, Sidecar: long, Version: long, Origin: "meta"}},
	})
	kept := d.All()[0]
	must.Len(t, maxItems, kept.Rules)
	must.Len(t, maxItems, kept.Reasons)
	for _, text := range append(kept.Rules, kept.Client, kept.Accessor, kept.Method, kept.Path, kept.Job, kept.Namespace, kept.Region, kept.Reasons[0], kept.Sidecars[0].Group, kept.Sidecars[0].Sidecar, kept.Sidecars[0].Version) {
		must.LessEq(t, maxTextBytes, len(text))
		must.StrHasSuffix(t, "é…", text, must.Sprint("no character is cut"))
	}
	must.Eq(t, long, many[999], must.Sprint("what was given stays as it was"))
}

func TestDecisionsComeFromManyAtOnce(t *testing.T) {
	d := NewDecisions(50)
	var wait sync.WaitGroup
	for range 8 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 100 {
				d.Add(decision("default", "web", "denied"))
				_ = d.All()
			}
		}()
	}
	wait.Wait()
	must.Eq(t, 800, d.Seen())
	for i, kept := range d.Denials() {
		must.Eq(t, uint64(800-i), kept.Number)
	}
}
