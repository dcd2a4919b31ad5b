package templater_test

import (
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// References are written as they are where Nomad's parser hands them on exactly, in
// every kind of string.
// Trap I16.
func TestRuntimeReferences_ReadByNomad(t *testing.T) {
	parts := []string{
		"${NOMAD_TASK_DIR}", "${attr.kernel.name}", "${meta.a-b.c}", "${node.class}", "${env.HOME}", "${NOMAD_x", "${ NOMAD_x }",
		`${env["HOME"]}`, "${device.x}", "${param.x}", "${local.x}", "${var.x}", "$", "%", "{", "}", "%{if}", "$${NOMAD_A}", "\n", "\"", "a", "EO", "é",
		"${attr.1}", "${NOMAD_META_a-b}", "${NOMAD_A.b}", "${meta.}", "${~NOMAD_A}",
	}
	rapid.Check(t, func(t *rapid.T) {
		want := ""
		for _, p := range rapid.SliceOfN(rapid.SampledFrom(parts), 1, 8).Draw(t, "parts") {
			want += p
		}
		if rapid.Bool().Draw(t, "lines") {
			want += "\nb\n"
		}
		v := cty.StringVal(want)
		task := &sidecar.Block{Type: "task", Labels: []string{"t"}, Body: sidecar.Body{
			&sidecar.Attr{Name: "user", Value: v},
			&sidecar.Block{Type: "config", Body: sidecar.Body{&sidecar.Attr{Name: "args", Value: cty.TupleVal([]cty.Value{v})}}},
			&sidecar.Block{Type: "env", Body: sidecar.Body{&sidecar.Attr{Name: "A", Value: v}}},
			&sidecar.Block{Type: "template", Body: sidecar.Body{&sidecar.Attr{Name: "data", Value: v}}},
			&sidecar.Attr{Name: "meta", Value: cty.ObjectVal(map[string]cty.Value{"a.b": v})},
		}}
		src := "job \"j\" {\n  group \"g\" {\n" + task.HCL(sidecar.Style{Indent: "    ", Heredoc: true, Runtime: true}) + "  }\n}\n"
		job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "j", Body: []byte(src), Strict: true})
		must.NoError(t, err, must.Sprint(src))
		got := job.TaskGroups[0].Tasks[0]
		must.Eq(t, want, got.User, must.Sprint(src))
		must.Eq(t, any(want), got.Config["args"].([]any)[0], must.Sprint(src))
		must.Eq(t, want, got.Env["A"], must.Sprint(src))
		must.Eq(t, want, got.Meta["a.b"], must.Sprint(src))
		must.Eq(t, want, *got.Templates[0].EmbeddedTmpl, must.Sprint(src))
	})
}

func TestWhatIsAddedIsLaidOutAsNomadDoes(t *testing.T) {
	c := loadCatalog(t)
	src := hclwrite.Format([]byte(fullJob))
	must.Eq(t, fullJob, string(src))
	out := inject(t, parseHCL(t, src), c, with("awkward", "ports", "viewer"))
	must.Eq(t, string(hclwrite.Format(out)), string(out))
	must.StrContains(t, string(out), `"${NOMAD_TASK_DIR}/run"`)
	must.StrContains(t, string(out), `"$${LITERAL}"`)
}
