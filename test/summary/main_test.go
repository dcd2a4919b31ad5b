package main

import (
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func TestSummary(t *testing.T) {
	cases := []struct {
		name   string
		events string
		ok     bool
		last   string
		says   []string
	}{
		{
			name: "leaves are counted, not their parents",
			events: `{"Action":"start","Package":"p"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestAB"}
{"Action":"pass","Package":"p","Elapsed":1.25}`,
			ok: true, last: "3 passed, 0 failed, 0 skipped",
			says: []string{"pass p  1.2 s"},
		},
		{
			name: "skips with their reason",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: needs root: makes mounts\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`,
			ok: true, last: "0 passed, 0 failed, 1 skipped",
			says: []string{"  p TestA: needs root: makes mounts\n"},
		},
		{
			name: "a failure with its output",
			events: `{"Action":"output","Package":"p","Test":"TestA/x","Output":"    a_test.go:9: not equal\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`,
			last: "1 passed, 1 failed, 0 skipped",
			says: []string{"FAIL p TestA/x\n", "a_test.go:9: not equal"},
		},
		{
			name: "packages at the same time",
			events: `{"Action":"start","Package":"p"}
{"Action":"start","Package":"q"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:9: not equal\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"pass","Package":"q","Test":"TestA/one"}
{"Action":"pass","Package":"q","Test":"TestA"}
{"Action":"pass","Package":"p"}
{"Action":"fail","Package":"q"}`,
			last: "2 passed, 1 failed, 0 skipped",
			says: []string{"pass p  0.0 s  1 passed, 0 failed", "FAIL q TestB\n     ", "fail q  0.0 s  1 passed, 1 failed"},
		},
		{
			name: "a package that does not compile",
			events: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			last: "0 passed, 1 failed, 0 skipped",
			says: []string{"undefined: x"},
		},
		{
			name: "a package that ends outside of its tests",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"sandbox: no namespaces\n"}
{"Action":"fail","Package":"p"}`,
			last: "1 passed, 1 failed, 0 skipped",
			says: []string{"sandbox: no namespaces"},
		},
		{
			name: "events that break off",
			events: `{"Action":"start","Package":"p"}
{"Action":"pass","Package":"p","Test":"TestA"}`,
			last: "0 passed, 1 failed, 0 skipped",
			says: []string{"it did not come to an end"},
		},
		{
			name:   "nothing at all",
			events: "go: no such package\n",
			last:   "0 passed, 0 failed, 0 skipped",
			says:   []string{"go: no such package"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(c.events), &out)
			must.NoError(t, err)
			must.Eq(t, c.ok, ok)
			lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
			must.Eq(t, c.last, lines[len(lines)-1])
			for _, text := range c.says {
				must.StrContains(t, out.String(), text)
			}
		})
	}
}
