package kube_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

// client evaluates a text of a task's config as Nomad's client does: as a template, in which the
// environment is defined (plugins/shared/hclutils).
func client(t *testing.T, text string, env map[string]cty.Value) string {
	t.Helper()
	expr, diags := hclsyntax.ParseTemplate([]byte(text), "config", hcl.InitialPos)
	must.False(t, diags.HasErrors(), must.Sprint(text, diags))
	v, diags := expr.Value(&hcl.EvalContext{Variables: env})
	must.False(t, diags.HasErrors(), must.Sprint(text, diags))
	return v.AsString()
}

// Any text of a manifest reaches the program unchanged, in its arguments and in its environment.
func TestImport_TextsSurvive(t *testing.T) {
	for i, text := range []string{
		"plain", "", " ", "a\nb\n", "a\nb", "EOT\nEOT1\nx\n", "tab\there\r\n", "quotes \" ' ` \\ \\n",
		"${HOME} ${X:-y} $${Z} $$$${Z} $ $$ $x", "%{if x}y%{endif} %%{z} 100%", "{{ .Title }} {{`{{`}}", "[[ ]]", "<<EOT", "# no comment // /* */",
		"\u00e4\u4e2d\U0001F600", "\x1b[31m\u202e", "key: [value]", "line\n${A}\n%{B}\n$${C}\n",
	} {
		arg := text
		raw, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"},
			"spec": map[string]any{"containers": []any{map[string]any{
				"name": "c", "image": "i:1", "command": []string{"run", arg}, "args": []string{arg},
				"env": []any{map[string]any{"name": "TEXT", "value": arg}},
			}}},
		})
		must.NoError(t, err)
		result, diags := kube.Import([]kube.Source{{Name: "p.json", Bytes: raw}}, kube.Options{})
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		task := parse(t, result.Jobs[0].Text).TaskGroups[0].Tasks[0]
		want := kubernetes(text)
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			args, ok := task.Config["args"].([]any)
			must.True(t, ok)
			must.Eq(t, want, client(t, args[0].(string), nil))
			entrypoint, ok := task.Config["entrypoint"].([]any)
			must.True(t, ok)
			must.Eq(t, want, client(t, entrypoint[1].(string), nil))
			must.Eq(t, want, task.Env["TEXT"])
		})
	}
}

// kubernetes replaces $$ by $, as Kubernetes does in arguments and variables.
func kubernetes(text string) string {
	var out []byte
	for i := 0; i < len(text); i++ {
		out = append(out, text[i])
		if text[i] == '$' && i+1 < len(text) && text[i+1] == '$' {
			i++
		}
	}
	return string(out)
}

// $(NAME) in arguments refers to the container's environment.
func TestImport_References(t *testing.T) {
	result, diags := kube.Import([]kube.Source{{Name: "p.yaml", Bytes: []byte(`
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    image: i:1
    args: ["$(A)", "x$(B)y$$(A)", "$(LATER) $(NONE) ${A}", "$(a.b)"]
    env:
    - {name: A, value: "1 $(LATER)"}
    - {name: B, value: "$(A)$(A)"}
    - {name: LATER, value: "2"}
    - {name: a.b, value: dotted}
`)}}, kube.Options{})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.SliceEmpty(t, result.Findings)
	task := parse(t, result.Jobs[0].Text).TaskGroups[0].Tasks[0]
	must.Eq(t, map[string]string{"A": "1 $(LATER)", "B": "1 $(LATER)1 $(LATER)", "LATER": "2", "a.b": "dotted"}, task.Env)
	env := map[string]cty.Value{}
	for name, v := range task.Env {
		env[name] = cty.StringVal(v)
	}
	var got []string
	args, ok := task.Config["args"].([]any)
	must.True(t, ok)
	for _, a := range args {
		got = append(got, client(t, a.(string), env))
	}
	must.Eq(t, []string{"1 $(LATER)", "x1 $(LATER)1 $(LATER)y$(A)", "2 $(NONE) ${A}", "dotted"}, got)
}
