package templater_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

var (
	futureCall = regexp.MustCompile(`future\("(\d+)"\)`)
	anySeal    = regexp.MustCompile(`(?m)^\s*#sidecar< [^\n]*$`)
)

// evaluated presents a job file as JSON, as -out json does.
type evaluated struct {
	*jsonjob.File
	view *job.Job
}

func (e *evaluated) Job() *job.Job { return e.view }

// strangeInjection is the result of one form of a job.
type strangeInjection struct {
	out   string
	diags hcl.Diagnostics
}

func injectStrange(t *testing.T, c *sidecar.Catalog, src string, in hcljob.Inputs, flags templater.Flags, asJSON bool) strangeInjection {
	f, diags := hcljob.Parse([]byte(src), "job.hcl", in)
	if diags.HasErrors() {
		return strangeInjection{diags: diags}
	}
	var d templater.Document = f
	if asJSON {
		raw, more := f.JSON()
		if more.HasErrors() {
			return strangeInjection{diags: more}
		}
		j, more := jsonjob.Parse(raw, "job.json", c)
		must.False(t, more.HasErrors(), must.Sprint(more))
		d = &evaluated{j, templater.Reveal(f.Job(), j.Job())}
	}
	i, diags := templater.Inject(d, c, flags)
	return strangeInjection{string(i.Output), diags}
}

// nomadStrange parses a job file as `nomad job run` does.
func nomadStrange(src string, in hcljob.Inputs) (any, error) {
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: []byte(src), Strict: true,
		ArgVars: in.Vars, BaseDir: in.BaseDir, AllowFS: in.AllowFS})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(map[string]any{"Job": j})
	if err != nil {
		return nil, err
	}
	var v any
	return v, json.Unmarshal(raw, &v)
}

// TestInject_StrangeExpressions writes the values of jobs as expressions of all kinds. With
// some of their values missing, the result is an error or the same as with all of them, in
// both forms; and with all of them both forms are the same job, or one is refused.
func TestInject_StrangeExpressions(t *testing.T) {
	c := loadCatalog(t)
	text := "sidecar \"reader\" {\n version = \"1.0.0\"\n" + reader + "\n}\n"
	must.False(t, c.Load(fstest.MapFS{"reader.sidecar.hcl": {Data: []byte(text)}}, "").HasErrors())
	rules := openRules()
	seed, rounds := rand.Uint64(), 300
	if s := os.Getenv("POD_TEST_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must.NoError(t, err)
	}
	if os.Getenv("POD_TEST_ALL") != "" {
		rounds = 20000
	}
	t.Logf("POD_TEST_SEED=%d", seed)
	r := rand.New(rand.NewPCG(2, seed))
	count := map[string]int{}
	for range rounds {
		x := &strangeCase{r: r, catalog: c, flags: someFlags(r, somePolicy(t, r, rules)), count: count}
		x.make(t)
		x.check(t)
	}
	for _, k := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%6d %s", count[k], k)
	}
	for _, k := range []string{"HCL refused", "HCL the same", "JSON refused", "JSON the same", "HCL injected in spite of unknown values", "all values given: one job (dynamic blocks)"} {
		must.Positive(t, count[k], must.Sprint(k))
	}
}

func somePolicy(t *testing.T, r *rand.Rand, rules []string) templater.Policy {
	if r.IntN(5) == 0 {
		return nil
	}
	text := ""
	for _, i := range r.Perm(len(rules))[:1+r.IntN(4)] {
		text += rules[i]
	}
	p := &policy.Policy{}
	diags := p.Add([]byte(text), "p.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags, text))
	return p
}

func someFlags(r *rand.Rand, p templater.Policy) templater.Flags {
	flags := templater.Flags{Policy: p}
	if r.IntN(4) == 0 {
		flags.With = with([]string{"anywhere", "ports", "viewer", "reader", "awkward"}[r.IntN(5)]).With
		if r.IntN(3) == 0 {
			flags.Groups = []string{"g"}
		}
	}
	return flags
}

// strangeCase is a job with and without the values of its expressions.
type strangeCase struct {
	r           *rand.Rand
	catalog     *sidecar.Catalog
	flags       templater.Flags
	open, full  string
	part, whole hcljob.Inputs
	futures     []string
	count       map[string]int
}

// make draws a job, and which of its values are given.
func (x *strangeCase) make(t *testing.T) {
	e := newExpressions(x.r)
	s := &generatedJob{expressions: e, odd: x.r.Float64() * 0.8, dynamic: x.r.IntN(2) == 0}
	body := s.job()
	x.open = e.head() + body
	x.futures = e.futures
	x.full = x.given(x.open)
	dir := ""
	if len(e.files) > 0 {
		dir = t.TempDir()
	}
	for name, text := range e.files {
		must.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	missing := []float64{0, 0.3, 1}[x.r.IntN(3)]
	for _, name := range slices.Sorted(maps.Keys(e.vars)) {
		arg := name + "=" + e.vars[name]
		x.whole.Vars = append(x.whole.Vars, arg)
		if x.r.Float64() >= missing {
			x.part.Vars = append(x.part.Vars, arg)
		}
	}
	x.whole.BaseDir, x.whole.AllowFS = dir, true
	x.part.BaseDir, x.part.AllowFS = dir, x.r.IntN(2) == 0
	if x.r.IntN(3) == 0 {
		x.open = x.full
	}
}

func (x *strangeCase) kind() string {
	if strings.Contains(x.full, "dynamic \"") {
		return " (dynamic blocks)"
	}
	return ""
}

// given replaces the calls of the function that does not exist by their values.
func (x *strangeCase) given(src string) string {
	return futureCall.ReplaceAllStringFunc(src, func(s string) string {
		i, _ := strconv.Atoi(futureCall.FindStringSubmatch(s)[1])
		return x.futures[i]
	})
}

func (x *strangeCase) check(t *testing.T) {
	var wants []strangeInjection
	for _, asJSON := range []bool{false, true} {
		form := map[bool]string{false: "HCL", true: "JSON"}[asJSON]
		want := injectStrange(t, x.catalog, x.full, x.whole, x.flags, asJSON)
		got := injectStrange(t, x.catalog, x.open, x.part, x.flags, asJSON)
		wants = append(wants, want)
		show := must.Sprint(form, "\n", strings.ReplaceAll(x.open, "%", "%%"), "\n", x.part.Vars, x.part.AllowFS, "\n", x.whole.Vars)
		switch {
		case got.diags.HasErrors() && want.diags.HasErrors():
			x.count[form+x.kind()+" wrong with and without the values"]++
		case got.diags.HasErrors():
			x.count[form+x.kind()+" refused"]++
			must.True(t, asJSON || diagnostic.HasUnknown(got.diags), must.Sprint(got.diags), show)
		case want.diags.HasErrors():
			must.False(t, true, must.Sprint("no error without the values, but with them: ", want.diags), show)
		default:
			x.count[form+x.kind()+" the same"]++
			if strings.Contains(got.out, "sidecar.origin") && (x.open != x.full || len(x.part.Vars) < len(x.whole.Vars)) {
				x.count[form+x.kind()+" injected in spite of unknown values"]++
			}
			x.again(t, got.out, asJSON)
			must.Eq(t, anySeal.ReplaceAllString(want.out, ""), anySeal.ReplaceAllString(x.given(got.out), ""), show)
		}
	}
	x.sameJob(t, wants[0], wants[1])
}

// again injects once more, and takes everything out again.
func (x *strangeCase) again(t *testing.T, out string, asJSON bool) {
	if asJSON {
		return
	}
	show := must.Sprint(strings.ReplaceAll(out, "%", "%%"))
	twice := injectStrange(t, x.catalog, out, x.part, x.flags, false)
	must.False(t, twice.diags.HasErrors(), must.Sprint(allErrors(twice.diags)), show)
	must.Eq(t, out, twice.out, show)
	back, diags := hcljob.Eject([]byte(out), "job.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags), show)
	must.Eq(t, x.open, string(back), show)
}

func allErrors(diags hcl.Diagnostics) string {
	out := ""
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			out += d.Error() + "\n"
		}
	}
	return out
}

// sameJob compares both forms of a job with all its values.
func (x *strangeCase) sameJob(t *testing.T, text, raw strangeInjection) {
	show := must.Sprint(strings.ReplaceAll(x.full, "%", "%%"), "\n", x.whole.Vars, "\n", allErrors(text.diags), allErrors(raw.diags))
	switch {
	case text.diags.HasErrors() && raw.diags.HasErrors():
		x.count["all values given: both refused"+x.kind()]++
	case text.diags.HasErrors():
		x.count["all values given: HCL refused"+x.kind()]++
		must.StrContains(t, allErrors(text.diags), "-out json", show)
	case raw.diags.HasErrors():
		_, err := nomadStrange(x.full, x.whole)
		x.count["all values given: refused by Nomad"+x.kind()]++
		must.Error(t, err, must.Sprint(raw.diags), show)
	default:
		want, err := nomadStrange(text.out, x.whole)
		must.NoError(t, err, show)
		if !strings.Contains(x.full, "vault") {
			if got := decode(t, []byte(raw.out)); !reflect.DeepEqual(want, got) {
				must.Eq(t, want, got, show)
			}
		}
		x.count["all values given: one job"+x.kind()]++
	}
}
