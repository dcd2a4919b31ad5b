package templater_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/jsonjob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// loadCatalog reads the definitions in testdata/catalog.
func loadCatalog(t must.T) *sidecar.Catalog {
	c := &sidecar.Catalog{}
	diags := c.Load(os.DirFS("testdata/catalog"), "catalog")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return c
}

// drawFlags draws which sidecars to choose, by flags.
func drawFlags(t *rapid.T) templater.Flags {
	flags := templater.Flags{Params: map[string]map[string]sidecar.Argument{}}
	for _, name := range []string{"awkward", "ports", "viewer"} {
		if rapid.Bool().Draw(t, "with "+name) {
			flags.With = append(flags.With, &job.Request{Sidecar: name})
		}
	}
	if len(flags.With) > 0 && flags.With[0].Sidecar == "awkward" {
		text := rapid.StringOf(rapid.SampledFrom([]rune("ab${}%{}\"\\\n\r\t{}[]#<EOT\u0301\u00e9\U0001f600\u200b"))).Draw(t, "text")
		flags.Params["awkward"] = map[string]sidecar.Argument{
			"text":  {Value: cty.StringVal(text), Text: true},
			"extra": {Value: cty.BoolVal(rapid.Bool().Draw(t, "extra"))},
		}
	}
	return flags
}

type doc interface {
	Job() *job.Job
	Apply([]job.Edit) ([]byte, hcl.Diagnostics)
}

func parseHCL(t must.T, src []byte) *hcljob.File {
	f, diags := hcljob.Parse(src, "job.hcl", hcljob.Inputs{BaseDir: "."})
	must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, src))
	return f
}

func parseJSON(t must.T, src []byte, c *sidecar.Catalog) *jsonjob.File {
	f, diags := jsonjob.Parse(src, "job.json", c)
	must.False(t, diags.HasErrors(), must.Sprintf("%s\n%s", diags, src))
	return f
}

func plan(t must.T, view *job.Job, c *sidecar.Catalog, flags templater.Flags) []job.Edit {
	choices, diags := templater.Choose(view, c, flags)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	edits, diags := templater.Plan(view, choices)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return edits
}

func apply(t must.T, d doc, edits []job.Edit) []byte {
	out, diags := d.Apply(edits)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return out
}

func inject(t must.T, d doc, c *sidecar.Catalog, flags templater.Flags) []byte {
	return apply(t, d, plan(t, d.Job(), c, flags))
}

// nomad parses a job file as Nomad does and returns it as plain JSON values.
func nomad(t must.T, src []byte) any {
	j, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: src, Strict: true})
	must.NoError(t, err, must.Sprint(string(src)))
	raw, err := json.Marshal(map[string]any{"Job": j})
	must.NoError(t, err)
	return decode(t, raw)
}

func decode(t must.T, raw []byte) any {
	var v any
	must.NoError(t, json.Unmarshal(raw, &v), must.Sprint(string(raw)))
	return v
}

func equal(t must.T, want, got any) {
	if !reflect.DeepEqual(want, got) {
		must.Eq(t, want, got)
	}
}

func TestEjectRestoresEveryByte(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src := []byte(drawJob(t, true))
		flags := drawFlags(t)
		out := inject(t, parseHCL(t, src), c, flags)
		if len(flags.With) == 0 {
			must.Eq(t, string(src), string(out))
		}
		back, diags := hcljob.Eject(out, "job.hcl")
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		must.Eq(t, string(src), string(back))
	})
}

// Trap I3.
func TestInject_Twice(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src := []byte(drawJob(t, false))
		flags := drawFlags(t)
		f := parseHCL(t, src)
		once := inject(t, f, c, flags)
		must.Eq(t, string(once), string(inject(t, parseHCL(t, once), c, flags)))

		raw, diags := f.JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		once = inject(t, parseJSON(t, raw, c), c, flags)
		must.Eq(t, string(once), string(inject(t, parseJSON(t, once, c), c, flags)))
	})
}

func TestBothFormsAreTheSameJob(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src := []byte(drawJob(t, false))
		flags := drawFlags(t)
		f := parseHCL(t, src)
		want := nomad(t, inject(t, f, c, flags))
		raw, diags := f.JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		got := decode(t, inject(t, parseJSON(t, raw, c), c, flags))
		equal(t, want, got)
	})
}

// What Nomad's parser gives to each task of a group is known from the text only.
func TestInheritedBlocksReachTheSidecarInBothForms(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src := []byte(drawJob(t, true))
		flags := drawFlags(t)
		f := parseHCL(t, src)
		edits := plan(t, f.Job(), c, flags)
		raw, diags := f.JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		equal(t, nomad(t, apply(t, f, edits)), decode(t, apply(t, parseJSON(t, raw, c), edits)))
	})
}

// Trap I14.
func TestInject_ByteIdentical(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		src := []byte(drawJob(t, true))
		flags := drawFlags(t)
		first := inject(t, parseHCL(t, src), c, flags)
		for range 5 {
			must.Eq(t, string(first), string(inject(t, parseHCL(t, src), loadCatalog(t), flags)))
		}
	})
}

// Trap I5.
func TestInject_KeepsUnknownJSONFields(t *testing.T) {
	c := loadCatalog(t)
	rapid.Check(t, func(t *rapid.T) {
		f := parseHCL(t, []byte(drawJob(t, false)))
		flags := drawFlags(t)
		raw, diags := f.JSON()
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		var tree any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		must.NoError(t, dec.Decode(&tree))
		count := 0
		seed(tree, &count)
		seeded, err := json.Marshal(tree)
		must.NoError(t, err)
		if rapid.Bool().Draw(t, "pretty") {
			seeded, err = json.MarshalIndent(tree, " ", "\t")
			must.NoError(t, err)
		}
		out := inject(t, parseJSON(t, seeded, c), c, flags)
		for i := range count {
			must.StrContains(t, string(out), fmt.Sprintf(`"Unknown%d":`, i))
		}
		if len(flags.With) == 0 {
			must.Eq(t, string(seeded), string(out))
		}
		must.Eq(t, count, bytes.Count(out, []byte("1.50e2")))
		decode(t, out)
	})
}

// seed adds a field to every object that is a struct of Nomad's, with a number
// whose spelling must survive as well.
func seed(v any, count *int) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			seed(e, count)
		}
	case map[string]any:
		for _, e := range v {
			seed(e, count)
		}
		if _, isStruct := v["Name"]; isStruct {
			v[fmt.Sprintf("Unknown%d", *count)] = json.Number("1.50e2")
			*count++
		}
	}
}
