package templater_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
)

// drawn are the sidecars that the bits of n stand for.
func drawn(n byte) templater.Flags {
	var names []string
	for i, name := range []string{"anywhere", "awkward", "ports", "viewer"} {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return with(names...)
}

// FuzzInjectHCL looks for a job file that is neither refused nor keeps the promises
// of injection.
func FuzzInjectHCL(f *testing.F) {
	c := loadCatalog(f)
	f.Add([]byte(fullJob), byte(15))
	f.Add([]byte(strings.ReplaceAll(fullJob, "\n", "\r\n")), byte(2))
	f.Fuzz(func(t *testing.T, src []byte, sidecars byte) {
		// Nomad's functions read files; what there is on this machine is no part of it.
		if strings.Contains(string(src), "file") {
			t.Skip("may read a file")
		}
		j := corpusJob{place: "job.hcl", dir: t.TempDir(), text: src}
		err := j.keeps(c, drawn(sidecars))
		var r *refusal
		if err == nil || errors.As(err, &r) || errors.Is(err, errNotNomad) {
			return
		}
		t.Fatalf("%s\n%s", err, src)
	})
}

// FuzzInjectJSON looks for a job in JSON that is neither refused nor keeps the
// promises of injection. White space inside of empty containers may be lost.
func FuzzInjectJSON(f *testing.F) {
	c := loadCatalog(f)
	odd, err := os.ReadFile("testdata/odd.json")
	must.NoError(f, err)
	f.Add(odd, byte(14))
	raw, diags := parseHCL(f, []byte(fullJob)).JSON()
	must.False(f, diags.HasErrors())
	f.Add(raw, byte(15))
	f.Add(inject(f, parseJSON(f, raw, c), c, drawn(15)), byte(4))
	f.Fuzz(func(t *testing.T, src []byte, sidecars byte) {
		job, diags := jsonjob.Parse(src, "job.json", c)
		if diags.HasErrors() {
			return
		}
		plain := apply(t, job, nil)
		once, err := injectOr(job, c, drawn(sidecars))
		if err != nil {
			var r *refusal
			must.True(t, errors.As(err, &r), must.Sprint(err))
			return
		}
		again := parseJSON(t, once, c)
		must.Eq(t, string(once), string(inject(t, again, c, drawn(sidecars))))
		must.True(t, reflect.DeepEqual(first(t, plain), first(t, apply(t, again, nil))), must.Sprintf("%s\n%s\n%s", plain, once, apply(t, again, nil)))
	})
}

// first is the first JSON value of a text, which is all that Nomad reads.
func first(t must.T, raw []byte) any {
	var v any
	must.NoError(t, json.NewDecoder(strings.NewReader(string(raw))).Decode(&v))
	return v
}
