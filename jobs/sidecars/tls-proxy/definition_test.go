// Package tlsproxy holds only tests: they run the script and the nginx
// configuration of the definition beside them, with the nginx and openssl of
// this machine. They do not inject anything and need no Nomad.
package tlsproxy

import (
	"maps"
	"os"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// rendered is what the definition's task becomes with some parameters.
type rendered struct {
	command string
	args    []string
	env     map[string]string
	files   map[string]string // template destination → content
}

// render evaluates the definition's task as HCL. Variables are the parameters
// and what Nomad would fill in when the task starts.
func render(t *testing.T, params map[string]cty.Value, taskDir string) rendered {
	t.Helper()
	src, err := os.ReadFile("tls-proxy.sidecar.hcl")
	must.NoError(t, err)
	file, diags := hclsyntax.ParseConfig(src, "tls-proxy.sidecar.hcl", hcl.InitialPos)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	all := map[string]cty.Value{"image": cty.NullVal(cty.String), "server_name": cty.StringVal("localhost"), "self_signed": cty.False}
	maps.Copy(all, params)
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{
		"param": cty.ObjectVal(all), "NOMAD_TASK_DIR": cty.StringVal(taskDir),
	}}
	text := func(attribute *hclsyntax.Attribute) string {
		value, diags := attribute.Expr.Value(ctx)
		must.False(t, diags.HasErrors(), must.Sprint(diags))
		value, err := convert.Convert(value, cty.String) // as Nomad does for env
		must.NoError(t, err)
		return value.AsString()
	}

	out := rendered{env: map[string]string{}, files: map[string]string{}}
	for _, block := range task(t, file).Body.Blocks {
		attributes := block.Body.Attributes
		switch block.Type {
		case "config":
			out.command = text(attributes["command"])
			args, diags := attributes["args"].Expr.Value(ctx)
			must.False(t, diags.HasErrors(), must.Sprint(diags))
			for _, arg := range args.AsValueSlice() {
				out.args = append(out.args, arg.AsString())
			}
		case "env":
			for name, attribute := range attributes {
				out.env[name] = text(attribute)
			}
		case "template":
			out.files[text(attributes["destination"])] = text(attributes["data"])
		}
	}
	return out
}

func task(t *testing.T, file *hcl.File) *hclsyntax.Block {
	t.Helper()
	for _, block := range file.Body.(*hclsyntax.Body).Blocks[0].Body.Blocks {
		if block.Type == "task" {
			return block
		}
	}
	t.Fatal("the definition has no task")
	return nil
}
